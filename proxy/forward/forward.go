// Package forward carries connections and datagrams from the loopback addresses of Services to their endpoints. It
// changes nothing in them, and it never uses a port of the application.
//
// A Service is in use from the first time that its addresses are requested. Its ports listen on its loopback address
// while they have endpoints. Without endpoints they are closed, so that the kernel refuses connections as it would for
// a ClusterIP.
package forward

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/proxy/addresses"
	"github.com/spillway-k8s/spillway/proxy/endpoints"
	"github.com/spillway-k8s/spillway/proxy/state"
)

// Limits bound what the Pod's programs can make the proxy use.
type Limits struct {
	// Services is how many Services are in use at the same time. The one that was not requested for the longest time
	// and has no connection gives way.
	Services int
	// Connections is how many TCP connections are open at the same time. One more is reset.
	Connections int
	// Sessions is how many UDP clients have an endpoint at the same time. The one that was quiet for the longest time
	// gives way.
	Sessions int
}

// Config is what a Forwarder needs.
type Config struct {
	// Service returns a Service, or nil if it does not exist.
	Service func(namespace, name string) *state.Service
	// Table has the loopback addresses of Services.
	Table *addresses.Table
	// ReservedPorts are the ports of the application, on which the proxy never listens.
	ReservedPorts []int
	Limits        Limits
	// Now is the clock of session affinity and of limits.
	Now    func() time.Time
	Logger *slog.Logger
}

// Forwarder forwards for the Services in use.
type Forwarder struct {
	Config

	connections atomic.Int64
	sessions    sessions
	// logs limits messages that programs of the Pod can cause.
	logs rate.Sometimes
	// check finds clients that are gone. Tests have a faster one.
	check check
	// running are the goroutines of listeners and connections.
	running sync.WaitGroup

	mu sync.Mutex
	// services are those in use. order has the one last that was not requested for the longest time.
	services map[types.NamespacedName]*service
	order    list.List
	// problems are the Services whose ports cannot be used, and what was logged about each.
	problems map[types.NamespacedName]string
	stopped  bool
}

// service is a Service in use.
type service struct {
	name    types.NamespacedName
	address netip.Addr
	place   *list.Element
	// requested is when its addresses were requested last.
	requested time.Time
	// from is what the ports were made from. complete is set if all of them listen.
	from     *state.Service
	complete bool
	ports    map[portKey]*port
	// open counts connections and sessions.
	open atomic.Int64
}

// portKey identifies a port of a Service: no two have the same number and protocol.
type portKey struct {
	protocol corev1.Protocol
	number   uint16
}

// New returns a Forwarder without Services in use.
func New(config Config) *Forwarder {
	f := &Forwarder{
		Config: config, logs: rate.Sometimes{Interval: time.Minute}, check: defaultCheck,
		services: map[types.NamespacedName]*service{}, problems: map[types.NamespacedName]string{},
	}
	f.sessions.init(config.Limits.Sessions)
	return f
}

// Run blocks until ctx ends, and then closes all listeners. Connections continue.
func (f *Forwarder) Run(ctx context.Context) {
	<-ctx.Done()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
	for _, s := range f.services {
		f.drop(s)
	}
}

// Wait waits, after Run, until all TCP connections have ended: those of a native sidecar end with the containers of the
// Pod, and the kubelet limits how long that takes.
func (f *Forwarder) Wait() {
	if open := f.connections.Load(); open > 0 {
		f.Logger.Info("waiting for open connections to end", "connections", open)
	}
	f.running.Wait()
}

// answerLifetime is how long a Service that was requested does not give way to another: programs may still have the
// answer.
const answerLifetime = 30 * time.Second

var (
	errStopped = errors.New("the proxy is shutting down")
	errGone    = errors.New("the Service does not exist any more")
)

// PortError says why a port of a Service cannot be used on a loopback address.
type PortError struct {
	Port     uint16
	Protocol corev1.Protocol
	// Err is why.
	Err error
}

func (e *PortError) Error() string {
	return fmt.Sprintf("port %d/%s of the Service: %v", e.Port, e.Protocol, e.Err)
}

func (e *PortError) Unwrap() error { return e.Err }

// ErrReserved is in a PortError for a port of the application.
var ErrReserved = errors.New("the application of the Pod uses this port")

// Addresses returns the addresses at which programs of the Pod reach a Service of type ClusterIP: its loopback address,
// whose ports listen then. If the application uses one of its ports, these are the addresses of the endpoints, which
// works if all ports are the same there. Otherwise it is an error: a program that connects to the loopback address
// could reach the application itself.
func (f *Forwarder) Addresses(name types.NamespacedName) ([]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return nil, errStopped
	}
	from := f.Service(name.Namespace, name.Name)
	if from == nil {
		return nil, errGone
	}
	s, err := f.use(name)
	if err != nil {
		return nil, err
	}
	if s.from == from && s.complete {
		return []netip.Addr{s.address}, nil
	}
	if err = f.apply(s, from); err == nil {
		f.noteOtherProtocols(name, from)
		return []netip.Addr{s.address}, nil
	}
	f.drop(s)
	direct := from.Direct()
	f.problem(name, err, len(direct) > 0)
	if len(direct) > 0 {
		return direct, nil
	}
	return nil, err
}

// logged returns the keys of the Service in logs.
func (s *service) logged() slog.Attr { return logging.Object("service", s.name.Namespace, s.name.Name) }

// problem logs once why a Service has no loopback address.
func (f *Forwarder) problem(name types.NamespacedName, err error, direct bool) {
	problem := fmt.Sprint(err, direct)
	if f.problems[name] == problem {
		return
	}
	f.problems[name] = problem
	if direct {
		f.Logger.Info("a Service has the addresses of its endpoints in DNS",
			logging.Object("service", name.Namespace, name.Name), "cause", err)
		return
	}
	f.Logger.Warn("a Service cannot be reached: "+
		"give it or the application another port, give it the port of its endpoints, or run the Pod with kube-proxy",
		logging.Object("service", name.Namespace, name.Name), "err", err)
}

// noteOtherProtocols logs once that some ports of a Service cannot be reached. It has no problem otherwise.
func (f *Forwarder) noteOtherProtocols(name types.NamespacedName, from *state.Service) {
	i := slices.IndexFunc(from.Ports, func(p endpoints.Port) bool { return !forwards(p.Protocol) })
	if i < 0 {
		delete(f.problems, name)
		return
	}
	problem := fmt.Sprintf("port %d/%s", from.Ports[i].Number, from.Ports[i].Protocol)
	if f.problems[name] != problem {
		f.problems[name] = problem
		f.Logger.Warn("a port of a Service cannot be reached, because TCP and UDP are forwarded only: "+
			"use a headless Service, or run the Pod with kube-proxy", logging.Object("service", name.Namespace, name.Name),
			"port", problem)
	}
}

// forwards reports whether ports of a protocol are forwarded. Those of SCTP are not.
func forwards(protocol corev1.Protocol) bool {
	return protocol == corev1.ProtocolTCP || protocol == corev1.ProtocolUDP
}

// use returns the service in use, which another one may have to give way to.
func (f *Forwarder) use(name types.NamespacedName) (*service, error) {
	now := f.Now()
	if s := f.services[name]; s != nil {
		s.requested = now
		f.order.MoveToFront(s.place)
		return s, nil
	}
	if len(f.services) >= f.Limits.Services {
		if err := f.makeRoom(now); err != nil {
			return nil, err
		}
	}
	address, err := f.Table.Of(name)
	if err != nil {
		return nil, err
	}
	s := &service{name: name, address: address, requested: now, ports: map[portKey]*port{}}
	s.place = f.order.PushFront(s)
	f.services[name] = s
	return s, nil
}

// makeRoom drops the Service that was not requested for the longest time and has no connection.
func (f *Forwarder) makeRoom(now time.Time) error {
	for place := f.order.Back(); place != nil; place = place.Prev() {
		s := place.Value.(*service)
		if now.Sub(s.requested) < answerLifetime {
			break
		}
		if s.open.Load() == 0 {
			f.drop(s)
			return nil
		}
	}
	return fmt.Errorf("%d Services are in use, which is the limit (--max-services)", f.Limits.Services)
}

// Changed adjusts the ports of a Service, if it is in use, to what it is now.
func (f *Forwarder) Changed(name types.NamespacedName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	from := f.Service(name.Namespace, name.Name)
	s := f.services[name]
	switch {
	case from == nil || from.Kind != state.ClusterIP:
		if s != nil {
			f.drop(s)
		}
		f.Table.Release(name)
		delete(f.problems, name)
	case s != nil:
		if err := f.apply(s, from); err != nil {
			f.drop(s)
			f.problem(name, err, len(from.Direct()) > 0)
		}
	}
}

// maxPorts is how many ports of a Service can listen: each takes 4 KiB and a file descriptor.
const maxPorts = 1000

// apply makes the ports of a service what the Service wants. After an error the service must be dropped.
func (f *Forwarder) apply(s *service, from *state.Service) error {
	s.from, s.complete = from, true
	if len(from.Ports) > maxPorts {
		return fmt.Errorf("it has %d ports, and %d at most are supported", len(from.Ports), maxPorts)
	}
	wanted := map[portKey]bool{}
	for _, spec := range from.Ports {
		key := portKey{spec.Protocol, spec.Number}
		if wanted[key] || !forwards(spec.Protocol) {
			continue
		}
		wanted[key] = true
		if slices.Contains(f.ReservedPorts, int(spec.Number)) {
			return &PortError{spec.Number, spec.Protocol, ErrReserved}
		}
		p := s.ports[key]
		if p == nil {
			p = &port{forwarder: f, service: s, key: key, at: netip.AddrPortFrom(s.address, spec.Number).String(),
				logs: rate.Sometimes{Interval: time.Minute}}
			s.ports[key] = p
		}
		if err := p.set(from.Usable(spec), from.Affinity); err != nil {
			return &PortError{spec.Number, spec.Protocol, err}
		}
		s.complete = s.complete && p.listener != nil
	}
	for key, p := range s.ports {
		if !wanted[key] {
			p.close()
			delete(s.ports, key)
		}
	}
	return nil
}

// drop closes the ports of a Service, which is not in use any more. Its connections continue.
func (f *Forwarder) drop(s *service) {
	for _, p := range s.ports {
		p.close()
	}
	f.order.Remove(s.place)
	delete(f.services, s.name)
}

// choice is what a port knows about its endpoints.
type choice struct {
	mu       sync.Mutex
	usable   []netip.AddrPort
	affinity time.Duration
	// last is the endpoint of the last connection, and used is when that was opened.
	last netip.AddrPort
	used time.Time
}

// set replaces the endpoints.
func (c *choice) set(usable []netip.AddrPort, affinity time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.usable, c.affinity = usable, affinity
}

// has reports whether an endpoint is usable.
func (c *choice) has(endpoint netip.AddrPort) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return has(c.usable, endpoint)
}

// has reports whether an endpoint is one of some, which are in order.
func has(some []netip.AddrPort, endpoint netip.AddrPort) bool {
	_, ok := slices.BinarySearchFunc(some, endpoint, netip.AddrPort.Compare)
	return ok
}

// candidates returns the endpoints, which do not change, and the index of the one to try first. With affinity that is
// the endpoint of the last connection: all programs of the Pod have one address, so they are one client.
func (c *choice) candidates(now time.Time) (usable []netip.AddrPort, first int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.usable) == 0 {
		return nil, 0
	}
	if c.affinity > 0 && now.Sub(c.used) < c.affinity {
		if i := slices.Index(c.usable, c.last); i >= 0 {
			return c.usable, i
		}
	}
	return c.usable, rand.IntN(len(c.usable))
}

// connected notes which endpoint a new connection has.
func (c *choice) connected(endpoint netip.AddrPort, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.used = endpoint, now
}

// port is a port of a Service in use.
type port struct {
	forwarder *Forwarder
	service   *service
	key       portKey
	// at is where it listens.
	at     string
	choice choice
	// logs says once a minute at most what is lost that programs of the Pod send to the port.
	logs rate.Sometimes
	// listener is nil while the port is closed. Only the forwarder's lock protects it.
	listener io.Closer
}

// set changes the endpoints of the port, and opens or closes it.
func (p *port) set(usable []netip.AddrPort, affinity time.Duration) error {
	if p.listener != nil && len(usable) > 0 {
		p.choice.set(usable, affinity)
		p.forwarder.sessions.end(func(one *session) bool {
			return one.port == p && !has(usable, one.endpoint)
		})
		return nil
	}
	p.close()
	p.choice.set(usable, affinity)
	open := p.openTCP
	if p.key.protocol == corev1.ProtocolUDP {
		open = p.openUDP
	}
	// It is tried without endpoints too: the port must not be the application's.
	if err := open(); err != nil {
		return err
	}
	if len(usable) == 0 {
		p.close()
	}
	return nil
}

// close closes the port. Its sessions end, since nothing could pass answers on. Its connections continue.
func (p *port) close() {
	if p.listener == nil {
		return
	}
	p.choice.set(nil, 0)
	_ = p.listener.Close() // It is open.
	p.listener = nil
	p.forwarder.sessions.end(func(one *session) bool { return one.port == p })
}
