package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/proxy/addresses"
	"github.com/spillway-k8s/spillway/proxy/podtest"
	"github.com/spillway-k8s/spillway/proxy/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const soon = podtest.Soon

var cart = types.NamespacedName{Namespace: "shop", Name: "cart"}

// pod is a Forwarder that follows the Services of a cluster, with a clock of its own.
type pod struct {
	*Forwarder
	t       *testing.T
	cluster *proxytest.Cluster
	stop    func()
	ended   chan struct{}

	mu  sync.Mutex
	now time.Time
	log strings.Builder
}

func start(t *testing.T, change func(*Config)) *pod {
	t.Helper()
	p := &pod{t: t, cluster: proxytest.NewCluster(), now: time.Now(), ended: make(chan struct{})}
	created := make(chan struct{})
	known := podtest.Follow(t, p.cluster, func(name types.NamespacedName) {
		<-created
		p.Changed(name)
	})
	config := Config{
		Service: known.Get, Table: addresses.New(), Now: p.clock,
		Limits: Limits{Services: 10, Connections: 100, Sessions: 100},
		Logger: slog.New(slog.NewTextHandler(p, nil)),
	}
	if change != nil {
		change(&config)
	}
	p.Forwarder = New(config)
	close(created)
	forwarding, end := context.WithCancel(context.Background())
	p.stop = end
	go func() {
		p.Run(forwarding)
		p.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		end()
		<-p.ended
	})
	return p
}

func (p *pod) clock() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

func (p *pod) advance(by time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = p.now.Add(by)
}

// Write is the log.
func (p *pod) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(line)
}

func (p *pod) logged(text string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Count(p.log.String(), text)
}

// offer creates the Service shop/NAME with endpoints, and waits until it is known.
func (p *pod) offer(name string, ports []string, addresses ...string) {
	p.t.Helper()
	p.cluster.Put(proxytest.Service("shop/"+name, ports...))
	p.place(name, ports, addresses...)
}

// place sets the endpoints of a Service, and waits until the ports that are in use know them.
func (p *pod) place(name string, ports []string, addresses ...string) {
	p.t.Helper()
	p.cluster.Put(proxytest.Slice(name+"-a", "shop/"+name, ports, addresses...))
	require.Eventually(p.t, func() bool {
		found := p.Service("shop", name)
		if found == nil {
			return false
		}
		var known []string
		for host := range found.Hosts() {
			known = append(known, host.Address.String())
		}
		if !slices.Equal(known, addresses) {
			return false
		}
		p.Forwarder.mu.Lock()
		defer p.Forwarder.mu.Unlock()
		s := p.services[types.NamespacedName{Namespace: "shop", Name: name}]
		return s == nil || s.from == found
	}, soon, time.Millisecond)
}

// at returns the address of a Service with a port.
func (p *pod) at(name string, port int) string {
	p.t.Helper()
	found, err := p.Addresses(types.NamespacedName{Namespace: "shop", Name: name})
	require.NoError(p.t, err)
	require.Len(p.t, found, 1)
	require.True(p.t, addresses.Network.Contains(found[0]), found[0])
	return netip.AddrPortFrom(found[0], uint16(port)).String()
}

// freePort returns a port that no program uses.
func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", ":0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port
}

// listen serves TCP connections at an address until the end of the test.
func listen(t *testing.T, address string, serve func(*net.TCPConn)) *net.TCPListener {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, syscall.EMFILE) {
				time.Sleep(time.Millisecond) // Until there are file descriptors again.
				continue
			}
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = conn.Close() }()
				serve(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close() // It may be closed already.
		running.Wait()
	})
	return listener.(*net.TCPListener)
}

// saysItsName answers each connection with the address of the endpoint, and ends it.
func saysItsName(conn *net.TCPConn) {
	_, _ = io.WriteString(conn, conn.LocalAddr().(*net.TCPAddr).IP.String())
}

// echoes sends back what it gets.
func echoes(conn *net.TCPConn) { _, _ = io.Copy(conn, conn) }

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, soon)
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(soon)))
	t.Cleanup(func() { _ = conn.Close() })
	return conn.(*net.TCPConn)
}

// ask connects and returns what the endpoint says.
func ask(t *testing.T, address string) string {
	t.Helper()
	conn := dial(t, address)
	said, err := io.ReadAll(conn)
	require.NoError(t, err)
	return string(said)
}

// exchange sends a text and checks that it comes back.
func exchange(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(conn, text)
	require.NoError(t, err)
	got := make([]byte, len(text))
	_, err = io.ReadFull(conn, got)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
}

func ports(text string, numbers ...any) []string { return []string{fmt.Sprintf(text, numbers...)} }

const first, second, third = "127.0.7.1", "127.0.7.2", "127.0.7.3"

func TestAServiceHasOneAddressThatListens(t *testing.T) {
	p := start(t, nil)
	port, target := freePort(t), freePort(t)
	listen(t, fmt.Sprintf("%s:%d", first, target), saysItsName)
	p.offer("cart", ports("http:%d:%d", port, target), first)
	at := p.at("cart", port)
	assert.Equal(t, first, ask(t, at))
	assert.Equal(t, at, p.at("cart", port))

	p.offer("web", ports("http:%d:%d", port, target), first)
	assert.NotEqual(t, at, p.at("web", port), "two Services can have the same port")
	assert.Equal(t, first, ask(t, p.at("web", port)))

	_, err := p.Addresses(types.NamespacedName{Namespace: "shop", Name: "none"})
	require.ErrorIs(t, err, errGone)
}

func TestPortsFollowTheService(t *testing.T) {
	p := start(t, nil)
	old, present, target := freePort(t), freePort(t), freePort(t)
	listen(t, fmt.Sprintf("%s:%d", first, target), saysItsName)
	p.offer("cart", ports("http:%d:%d", old, target), first)
	oldAt := p.at("cart", old)
	assert.Equal(t, first, ask(t, oldAt))

	p.cluster.Put(proxytest.Service("shop/cart", fmt.Sprintf("http:%d", present)))
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", p.at("cart", present))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, soon, time.Millisecond)
	_, err := net.Dial("tcp", oldAt)
	require.ErrorContains(t, err, "connection refused")

	p.cluster.Delete(proxytest.Service("shop/cart"))
	presentAt := strings.TrimSuffix(oldAt, fmt.Sprint(old)) + fmt.Sprint(present)
	require.Eventually(t, func() bool { return refused(presentAt) }, soon, time.Millisecond)
	_, owned := p.Table.Service(netip.MustParseAddrPort(oldAt).Addr())
	assert.False(t, owned, "the address is free")
}

// refused reports whether nothing listens at an address.
func refused(address string) bool {
	conn, err := net.Dial("tcp", address)
	if err == nil {
		_ = conn.Close()
	}
	return err != nil && strings.Contains(err.Error(), "connection refused")
}

func TestPortsOfTheApplicationAreNotUsed(t *testing.T) {
	port, target := freePort(t), freePort(t)
	occupy := func(network, address string) func(*testing.T) {
		return func(t *testing.T) {
			listener, err := net.Listen(network, address)
			require.NoError(t, err)
			t.Cleanup(func() { _ = listener.Close() })
		}
	}
	for name, tc := range map[string]struct {
		reserved []int
		occupy   func(*testing.T)
		// want is in the error.
		want string
	}{
		"the port is reserved": {[]int{port}, nil, ErrReserved.Error()},
		"a program listens on all IPv4 addresses": {
			nil, occupy("tcp4", fmt.Sprintf("0.0.0.0:%d", port)), syscall.EADDRINUSE.Error(),
		},
		"a program listens on all addresses": {
			nil, occupy("tcp", fmt.Sprintf("[::]:%d", port)), syscall.EADDRINUSE.Error(),
		},
		"a program listens on another loopback address": {nil, occupy("tcp", fmt.Sprintf("127.0.0.1:%d", port)), ""},
		"a program listens on IPv6 loopback":            {nil, occupy("tcp", fmt.Sprintf("[::1]:%d", port)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.occupy != nil {
				tc.occupy(t)
			}
			p := start(t, func(c *Config) { c.ReservedPorts = tc.reserved })
			p.offer("other", ports("http:%d:%d", port, target), first, second)
			p.offer("same", ports("http:%d", port), second, first)
			p.offer("empty", ports("http:%d", port))
			p.offer("two", []string{fmt.Sprintf("http:%d", port), fmt.Sprintf("more:%d:1", target)}, first)
			same := types.NamespacedName{Namespace: "shop", Name: "same"}
			if tc.want == "" {
				p.at("other", port)
				p.at("same", port)
				return
			}
			for _, service := range []string{"other", "empty", "two"} {
				for range 2 {
					_, err := p.Addresses(types.NamespacedName{Namespace: "shop", Name: service})
					require.ErrorContains(t, err, tc.want)
					require.ErrorContains(t, err, fmt.Sprintf("port %d/TCP of the Service", port))
				}
				assert.Equal(t, 1, p.logged("service="+service), "it is logged once")
			}
			found, err := p.Addresses(same)
			require.NoError(t, err)
			assert.Equal(t, []netip.Addr{netip.MustParseAddr(first), netip.MustParseAddr(second)}, found)
			assert.Equal(t, 1, p.logged("a Service has the addresses of its endpoints"))
			assert.Empty(t, p.services)
		})
	}
}

func TestAPortThatBecomesFreeIsUsed(t *testing.T) {
	p := start(t, nil)
	port, target := freePort(t), freePort(t)
	application := listen(t, fmt.Sprintf(":%d", port), saysItsName)
	listen(t, fmt.Sprintf("%s:%d", first, target), saysItsName)
	p.offer("cart", ports("http:%d:%d", port, target), first)
	_, err := p.Addresses(cart)
	require.ErrorContains(t, err, "address already in use")
	require.NoError(t, application.Close())
	assert.Equal(t, first, ask(t, p.at("cart", port)))
}

// A Service without endpoints does not listen, and then the application may take its port.
func TestAPortThatTheApplicationHasTakenStaysTheApplications(t *testing.T) {
	p := start(t, nil)
	port, target := freePort(t), freePort(t)
	p.offer("cart", ports("http:%d:%d", port, target))
	at := p.at("cart", port)
	listen(t, fmt.Sprintf(":%d", port), saysItsName)
	p.place("cart", ports("http:%d:%d", port, target), first)
	require.Eventually(t, func() bool { return p.logged("a Service cannot be reached") == 1 }, soon, time.Millisecond)
	_, err := p.Addresses(cart)
	require.ErrorContains(t, err, "address already in use")
	assert.Equal(t, netip.MustParseAddrPort(at).Addr().String(), ask(t, at), "the application itself")
}

func TestServicesInUseAreLimited(t *testing.T) {
	p := start(t, func(c *Config) { c.Limits.Services = 2 })
	port, target := freePort(t), freePort(t)
	listen(t, fmt.Sprintf("%s:%d", first, target), echoes)
	for _, name := range []string{"a", "b", "c"} {
		p.offer(name, ports("http:%d:%d", port, target), first)
	}
	busy := dial(t, p.at("a", port))
	exchange(t, busy, "hello")
	idle := p.at("b", port)
	c := types.NamespacedName{Namespace: "shop", Name: "c"}
	_, err := p.Addresses(c)
	require.ErrorContains(t, err, "2 Services are in use, which is the limit (--max-services)")

	p.advance(answerLifetime)
	third := p.at("c", port)
	exchange(t, busy, "the Service with a connection has stayed")
	require.True(t, refused(idle), "the other one has given way")
	exchange(t, dial(t, third), "hello")
	p.advance(answerLifetime)
	require.NoError(t, busy.Close())
	require.Eventually(t, func() bool {
		_, err := p.Addresses(types.NamespacedName{Namespace: "shop", Name: "b"})
		return err == nil
	}, soon, time.Millisecond, "the first has given way")
	assert.Equal(t, idle, p.at("b", port), "a Service has the same address again")
}

func TestServicesWithOtherProtocolsListenOnTheRest(t *testing.T) {
	p := start(t, nil)
	port, target := freePort(t), freePort(t)
	listen(t, fmt.Sprintf("%s:%d", first, target), saysItsName)
	both := []string{fmt.Sprintf("http:%d:%d", port, target), fmt.Sprintf("signal:%d:%d/SCTP", port, target)}
	p.offer("cart", both, first)
	for range 3 {
		assert.Equal(t, first, ask(t, p.at("cart", port)))
	}
	want := fmt.Sprintf("port=\"port %d/SCTP\"", port)
	assert.Equal(t, 1, p.logged(want), "it is said once")
	p.place("cart", both)
	p.at("cart", port)
	assert.Equal(t, 1, p.logged(want))
}

func TestAServiceWithTooManyPortsDoesNotListen(t *testing.T) {
	p := start(t, nil)
	var many []string
	for i := range maxPorts + 1 {
		many = append(many, fmt.Sprintf("p%d:%d:%d", i, 20000+i, 30000+i))
	}
	p.offer("cart", many, first)
	for range 2 {
		_, err := p.Addresses(cart)
		require.EqualError(t, err, "it has 1001 ports, and 1000 at most are supported")
	}
	assert.Empty(t, p.services)
	assert.Equal(t, 1, p.logged("a Service cannot be reached"))
	p.offer("cart", ports("http:%d", freePort(t)), first)
	require.Eventually(t, func() bool {
		_, err := p.Addresses(cart)
		return err == nil
	}, soon, time.Millisecond)
}

func TestAfterTheEndNoServiceHasAnAddress(t *testing.T) {
	p := start(t, nil)
	p.offer("cart", ports("http:%d", freePort(t)), first)
	p.stop()
	<-p.ended
	_, err := p.Addresses(cart)
	require.ErrorIs(t, err, errStopped)
	p.place("cart", ports("http:%d", freePort(t)), second)
	assert.Empty(t, p.services)
}

func TestAffinityKeepsTheEndpoint(t *testing.T) {
	usable := []netip.AddrPort{
		netip.MustParseAddrPort("10.0.0.1:80"), netip.MustParseAddrPort("10.0.0.2:80"),
		netip.MustParseAddrPort("10.0.0.3:80"),
	}
	now := time.Now()
	var c choice
	pick := func() netip.AddrPort {
		found, first := c.candidates(now)
		require.NotEmpty(t, found)
		c.connected(found[first], now)
		return found[first]
	}
	distinct := func(wait time.Duration) int {
		seen := map[netip.AddrPort]bool{}
		for range 200 {
			seen[pick()] = true
			now = now.Add(wait)
		}
		return len(seen)
	}
	c.set(usable, 0)
	assert.Equal(t, 3, distinct(0), "connections go to all endpoints")
	c.set(usable, time.Minute)
	assert.Equal(t, 1, distinct(time.Minute-1), "each connection renews the timeout")
	assert.Equal(t, 3, distinct(time.Minute), "the timeout is over each time")
	last := pick()
	var others []netip.AddrPort
	for _, one := range usable {
		if one != last {
			others = append(others, one)
		}
	}
	c.set(others, time.Minute)
	moved := pick()
	assert.NotEqual(t, last, moved, "the endpoint is gone")
	c.set(usable, time.Minute)
	assert.Equal(t, moved, pick())
	c.set(nil, time.Minute)
	none, _ := c.candidates(now)
	assert.Empty(t, none)
}
