package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/spillway-k8s/spillway/internal/kube"
	"github.com/spillway-k8s/spillway/internal/serve"
)

// ServiceName is the name of the Service of the servers, in the namespace of the programs.
const ServiceName = "spillway-vnode-services"

// Config configures a Server. All fields are required unless their comment says otherwise.
type Config struct {
	// Address is the host:port to listen on. Optional: without it no Pod is served, and only Services is of use.
	Address string
	// Addresses are the host:port at which Pods reach the servers. Optional: then Own and those of the Service.
	Addresses []string
	// Own is the host:port at which others reach this process.
	Own string
	// Namespaces are the namespaces that all Pods see, AllNamespaces for every one.
	Namespaces []string
	// Namespace is the namespace of the programs, with the Secret and the Service of the servers.
	Namespace string
	// Pods is how many Pods the virtual nodes of this process have at most.
	Pods int
	// Client lists and watches Services and EndpointSlices, and reads and writes the Secret.
	Client kubernetes.Interface
	// Rejections counts rejected connections. Optional.
	Rejections *serve.Rejections
	// Registerer registers the metrics.
	Registerer prometheus.Registerer
	// Now is the clock.
	Now    func() time.Time
	Logger *slog.Logger
}

// Server serves the Services of the cluster to the Pods of the virtual nodes that run in this process.
type Server struct {
	config   Config
	scope    scope
	metrics  *metrics
	services *served
	slices   *served
	cidrs    *served
	port     serve.Server
	// writeLimit is how long a write to a client may take.
	writeLimit time.Duration
	// listening says that the port is open.
	listening atomic.Bool
	// secret has the keys, nil before they are known.
	secret atomic.Pointer[secret]

	mu    sync.RWMutex
	nodes map[string]*node
}

// served are the objects of one kind.
type served struct {
	resources *resources
	initials  *initials
}

// New checks the configuration and starts nothing.
func New(config Config) (*Server, error) {
	if config.Own == "" || config.Namespace == "" || config.Pods <= 0 || config.Client == nil ||
		config.Registerer == nil || config.Now == nil || config.Logger == nil {
		return nil, errors.New("creating the server of Services: all fields but addresses, namespaces and rejections " +
			"must be set")
	}
	metrics, err := newMetrics(config.Registerer)
	if err != nil {
		return nil, err
	}
	s := &Server{
		config: config, metrics: metrics, nodes: map[string]*node{}, writeLimit: writeLimit,
		scope: newScope(config.Namespaces, types.NamespacedName{Namespace: config.Namespace, Name: ServiceName}),
	}
	s.services, s.slices, s.cidrs = s.newServed(kindService), s.newServed(kindEndpointSlice), s.newServed(kindServiceCIDR)
	for _, of := range []*served{s.services, s.slices} {
		if err := metrics.count(of.resources); err != nil {
			return nil, err
		}
	}
	// kube-proxy only uses them to reject connections to addresses that no Service has. The list is always empty.
	if err := s.cidrs.resources.Replace(nil, "1"); err != nil {
		return nil, err
	}
	s.port = serve.Server{
		Name: "services", Rejections: config.Rejections, Address: config.Address, Handler: s.handler(),
		GetCertificate: s.certificate, Streaming: true, Limits: limitsFor(config.Pods),
		Listening: func() { s.listening.Store(true) },
		// The checks of a load balancer are handshakes that fail.
		ErrorLog: slog.NewLogLogger(config.Logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// idleTimeout is how long a connection without streams stays open. Clients always have streams.
const idleTimeout = 30 * time.Second

// limitsFor returns the limits for a number of Pods: each has one connection, and a second one while the first has
// broken silently, with its streams and a few other requests. All of them may have one address, that of a load balancer
// or a gateway, and after a restart of the server all of them connect at once. Others only take room from each other.
func limitsFor(pods int) serve.Limits {
	const spare = 100
	return serve.Limits{
		Connections: 3*pods + spare, ConnectionsOfOne: 2*pods + spare,
		Requests: 2*maxStreams*pods + spare, RequestsOfOne: 2*maxStreams*pods + spare,
		Pending: pods + spare,
		Idle:    idleTimeout,
	}
}

func (s *Server) newServed(kind kind) *served {
	r := newResources(kind)
	return &served{r, newInitials(r, s.config.Now)}
}

// Run follows the Services of the cluster and serves them until ctx ends. It blocks. It returns an error if it cannot
// listen.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	services := s.config.Client.CoreV1().Services(metav1.NamespaceAll)
	group.Go(func() error {
		follow(ctx, s.config.Client, s.services.resources, &corev1.Service{}, services)
		return nil
	})
	if s.config.Address == "" {
		return group.Wait()
	}
	slices := s.config.Client.DiscoveryV1().EndpointSlices(metav1.NamespaceAll)
	group.Go(func() error {
		follow(ctx, s.config.Client, s.slices.resources, &discoveryv1.EndpointSlice{}, slices)
		return nil
	})
	group.Go(func() error { return s.serve(ctx) })
	return group.Wait()
}

// serve serves what the server knows until ctx ends.
func (s *Server) serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		s.keepSecret(ctx)
		return nil
	})
	group.Go(func() error { return s.port.Run(ctx) })
	group.Go(func() error {
		<-ctx.Done()
		s.eachNode((*node).end)
		return nil
	})
	return group.Wait()
}

// follow keeps the objects of a kind until ctx ends. It blocks.
func follow[L runtime.Object](
	ctx context.Context, client kubernetes.Interface, into *resources, example runtime.Object, of kube.Resource[L],
) {
	kube.Follow(ctx, "services-"+strings.ToLower(into.kind.name), client, of, example, into)
}

// Ready returns what is missing for the Pods to be served, or nil. Nothing is if no Pod is served. What the server has
// once had it keeps, so it does not become unready again.
func (s *Server) Ready() error {
	if s.config.Address == "" {
		return nil
	}
	if s.secret.Load() == nil {
		return fmt.Errorf("the keys of the server of Services are not known: see Secret %s in namespace %s",
			SecretName, s.config.Namespace)
	}
	for _, of := range []*served{s.services, s.slices} {
		if !of.resources.synced() {
			return fmt.Errorf("the %s objects of the cluster are not known to the server of Services",
				of.resources.kind.name)
		}
	}
	if !s.listening.Load() {
		return fmt.Errorf("the server of Services does not listen on %s yet", s.config.Address)
	}
	return nil
}

func (s *Server) eachNode(do func(*node)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, n := range s.nodes {
		do(n)
	}
}

func (s *Server) setNode(name string, n *node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[name] = n
}

func (s *Server) unsetNode(name string, n *node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nodes[name] == n {
		delete(s.nodes, name)
	}
}
