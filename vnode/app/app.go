// Package app assembles a virtual node from its rooms, runs it, and reports its health.
package app

import (
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	vknode "github.com/virtual-kubelet/virtual-kubelet/node"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"

	"github.com/spillway-k8s/spillway/internal/facts"
	"github.com/spillway-k8s/spillway/internal/leaderelection"
	"github.com/spillway-k8s/spillway/internal/serve"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cleanup/orphans"
	"github.com/spillway-k8s/spillway/vnode/config"
	"github.com/spillway-k8s/spillway/vnode/inventory"
	"github.com/spillway-k8s/spillway/vnode/kubelet"
	"github.com/spillway-k8s/spillway/vnode/mirror"
	"github.com/spillway-k8s/spillway/vnode/node"
	"github.com/spillway-k8s/spillway/vnode/nodeconditions"
	"github.com/spillway-k8s/spillway/vnode/provider"
	"github.com/spillway-k8s/spillway/vnode/soldout"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

const (
	// leasePrefix begins the name of the Lease of the leader election. The name of the node follows.
	leasePrefix = "spillway-vnode-"
	// leaseDuration is long because the process ends when it loses the Lease. A restart of the API server must not cause
	// that.
	leaseDuration = time.Minute
)

// App is a virtual node: its parts, created but not started.
type App struct {
	config   *config.Config
	logger   *slog.Logger
	clients  clients
	cloud    cci.API
	registry *prometheus.Registry
	events   record.EventBroadcaster
	// leader lets one process manage the node. leads reports whether it is this process.
	leader leaderelection.Leader
	leads  *atomic.Bool

	facts      *facts.Cluster
	node       *node.Node
	conditions *nodeconditions.Tracker
	// informers hold the Pods that are bound to the node.
	informers informers.SharedInformerFactory
	inventory *inventory.Inventory
	mirrors   *mirror.Mirrors
	provider  *provider.Provider
	// pods is virtual-kubelet's controller. It calls the provider.
	pods    *vknode.PodController
	soldOut *soldout.Controller
	orphans *orphans.Sweep

	// auth authorizes requests to the kubelet port.
	auth        *kubelet.Auth
	kubeletPort serve.Server
	healthPort  serve.Server
	// certificate is the certificate of the kubelet port that the cluster signs, or nil if it has another.
	certificate *kubelet.Certificate

	// cloudNamespaceErr is why the cloud namespace is not ready, nil once it is.
	cloudNamespaceErr atomic.Pointer[error]
}

// clients are the clients of the cluster, each with its own rate limit: a burst of Pods must not delay the heartbeat
// of the Node, nor the renewal of the Lease.
type clients struct {
	// These act as the node, unless the configuration says otherwise.
	// tokens and access review the callers of the kubelet port.
	pods, node, events, tokens, access *kubernetes.Clientset
	// These act as the program's own user. account is for what a node may not do.
	leader, account *kubernetes.Clientset
}

// reviewsPerSecond and reviewsAtOnce limit the TokenReviews, and the SubjectAccessReviews. The results are cached, so
// that usual callers need less than one per second.
const reviewsPerSecond, reviewsAtOnce = 20, 40

func newClients(cfg *config.Config) (c clients, err error) {
	for _, client := range []**kubernetes.Clientset{&c.pods, &c.node, &c.events} {
		if *client, err = cfg.NodeClient("vnode", cfg.Node.Name); err != nil {
			return clients{}, err
		}
	}
	for _, client := range []**kubernetes.Clientset{&c.leader, &c.account} {
		if *client, err = cfg.KubeClient("vnode"); err != nil {
			return clients{}, err
		}
	}
	reviewing := *cfg
	reviewing.Kube.QPS, reviewing.Kube.Burst = reviewsPerSecond, reviewsAtOnce
	for _, client := range []**kubernetes.Clientset{&c.tokens, &c.access} {
		if *client, err = reviewing.NodeClient("vnode", cfg.Node.Name); err != nil {
			return clients{}, err
		}
	}
	return c, nil
}

// New creates all parts and starts nothing. It checks what can be checked without a connection. hostname identifies
// this process in the leader election: the Pod of a StatefulSet restarts with the same name, which is its host name,
// and then does not wait until its own Lease expires.
func New(cfg *config.Config, hostname string, logger *slog.Logger) (*App, error) {
	clients, err := newClients(cfg)
	if err != nil {
		return nil, err
	}
	registry, conditions, leads := newRegistry(), nodeconditions.NewTracker(time.Now), new(atomic.Bool)
	cloud, err := cfg.CloudClient(cci.Config{Registerer: registry, Outcome: conditions.Note, Logger: logger})
	if err != nil {
		return nil, err
	}
	translator, err := translate.New(cfg.Translation())
	if err != nil {
		return nil, err
	}
	rules, err := policy.New(cfg.Policy)
	if err != nil {
		return nil, err
	}
	var pods *provider.Provider
	cluster, err := facts.NewCluster(clients.account, func() { pods.FactsChanged() }, logger)
	if err != nil {
		return nil, err
	}
	broadcaster := record.NewBroadcaster()
	b := builder{
		config: cfg, clients: clients, cloud: cloud, registry: registry, translator: translator, rules: rules, facts: cluster,
		logger:    logger,
		informers: newInformers(clients.pods, cfg.Node.Name),
		recorder: boundedRecorder{broadcaster.NewRecorder(scheme.Scheme,
			corev1.EventSource{Component: "spillway-vnode", Host: cfg.Node.Name})},
	}

	// Each part is passed whole to the parts that need it.
	virtualNode, err := b.node()
	if err != nil {
		return nil, err
	}
	cloudPods, err := b.inventory()
	if err != nil {
		return nil, err
	}
	mirrors, err := b.mirrors(cloudPods)
	if err != nil {
		return nil, err
	}
	pods, err = b.provider(virtualNode, cloudPods, mirrors)
	if err != nil {
		return nil, err
	}
	podController, err := b.podController(pods)
	if err != nil {
		return nil, err
	}
	soldOut, err := b.soldOut(cloudPods)
	if err != nil {
		return nil, err
	}
	auth, err := kubelet.NewAuth(clients.tokens, clients.access, cfg.Node.Name, cfg.ClientCAFile)
	if err != nil {
		return nil, err
	}
	handler, err := b.kubelet(auth, pods)
	if err != nil {
		return nil, err
	}
	port, certificate, err := b.kubeletPort(handler)
	if err != nil {
		return nil, err
	}
	rejections, err := serve.NewRejections(registry)
	if err != nil {
		return nil, err
	}
	port.Rejections = rejections
	a := &App{
		config: cfg, logger: logger, clients: clients, cloud: cloud, registry: registry, events: broadcaster,
		leader: leaderelection.Leader{
			Client: clients.leader, Namespace: cfg.LeaderElectionNamespace, Name: leasePrefix + cfg.Node.Name,
			Identity: hostname, Lease: leaseDuration, Leads: leads.Store, Logger: logger,
		},
		leads: leads, facts: cluster, node: virtualNode, conditions: conditions, informers: b.informers, inventory: cloudPods,
		mirrors: mirrors, provider: pods, pods: podController, soldOut: soldOut, orphans: b.orphans(),
		auth: auth, kubeletPort: port, certificate: certificate,
	}
	a.healthPort = serve.Server{
		Name: "health", Rejections: rejections, Address: cfg.HealthListen, Handler: a.health(),
	}
	return a, nil
}

// newRegistry returns the registry in which every room registers its own metrics.
func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// usageClient reads the exporters of Pods. Pods are not behind a proxy, and a connection to each of thousands of Pods
// is not worth keeping. It follows no redirects: a Pod must not send it to other addresses.
func usageClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			// Containers of a Pod can answer in the place of its exporter, with any header.
			DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// errLeadershipLost ends the program, which is then started again: the parts that manage Pods cannot be started twice.
var errLeadershipLost = errors.New(
	"lost the leader election: another vnode manages the node, or the API server is unavailable")
