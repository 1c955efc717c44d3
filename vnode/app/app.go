// Package app assembles a virtual node from its rooms, runs it during one term, and reports its health.
package app

import (
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	vknode "github.com/virtual-kubelet/virtual-kubelet/node"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"

	"github.com/spillway-k8s/spillway/internal/facts"
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
	"github.com/spillway-k8s/spillway/vnode/quota"
	"github.com/spillway-k8s/spillway/vnode/services"
	"github.com/spillway-k8s/spillway/vnode/snapshots"
	"github.com/spillway-k8s/spillway/vnode/soldout"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// App is a virtual node: its parts, created but not started.
type App struct {
	config     *config.Config
	logger     *slog.Logger
	clients    clients
	cloud      *cci.Client
	guard      Guard
	registry   *prometheus.Registry
	events     record.EventBroadcaster
	recorder   record.EventRecorder
	facts      *facts.Cluster
	node       *node.Node
	conditions *nodeconditions.Tracker
	// informers hold the Pods that are bound to the node.
	informers informers.SharedInformerFactory
	inventory *inventory.Inventory
	// services are those of the cluster, nil if no Pod can reach any.
	services *services.Server
	mirrors  *mirror.Mirrors
	provider *provider.Provider
	// pods is virtual-kubelet's controller. It calls the provider.
	pods    *vknode.PodController
	soldOut *soldout.Controller
	orphans *orphans.Sweep
	// quota keeps the capacity within the quotas of the cloud namespace, nil with CCI 2.0.
	quota *quota.Follower
	// snapshots keeps image snapshots, nil if none are configured.
	snapshots *snapshots.Keeper

	// auth authorizes requests to the kubelet port.
	auth        *kubelet.Auth
	kubeletPort serve.Server
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
	// account acts as the program's own user, for what a node may not do.
	account *kubernetes.Clientset
}

// reviewsPerSecond and reviewsAtOnce limit the TokenReviews, and the SubjectAccessReviews. The results are cached, so
// that usual callers need less than one per second.
const reviewsPerSecond, reviewsAtOnce = 20, 40

func newClients(cfg *config.Config, guard Guard) (c clients, err error) {
	for _, client := range []**kubernetes.Clientset{&c.pods, &c.node, &c.events} {
		if *client, err = cfg.NodeClient("vnode", cfg.Node.Name, guard.Wrap); err != nil {
			return clients{}, err
		}
	}
	if c.account, err = cfg.KubeClient("vnode", guard.Wrap); err != nil {
		return clients{}, err
	}
	reviewing := *cfg
	reviewing.Kube.QPS, reviewing.Kube.Burst = reviewsPerSecond, reviewsAtOnce
	for _, client := range []**kubernetes.Clientset{&c.tokens, &c.access} {
		if *client, err = reviewing.NodeClient("vnode", cfg.Node.Name, guard.Wrap); err != nil {
			return clients{}, err
		}
	}
	return c, nil
}

// Guard lets requests pass during the term of this process only (leaderelection.Term).
type Guard interface {
	// Err returns nil during the term.
	Err() error
	// Wrap returns a transport that sends requests during the term only.
	Wrap(http.RoundTripper) http.RoundTripper
}

// New creates all parts and starts nothing. It checks what can be checked without a connection. The configuration is
// that of one node (config.Config.PerNode). All requests to the cluster and to the cloud pass the guard. rejections
// counts what the kubelet port rejects. Close the App unless Run has been called.
func New(
	cfg *config.Config, guard Guard, server *services.Server, rejections *serve.Rejections, logger *slog.Logger,
) (*App, error) {
	clients, err := newClients(cfg, guard)
	if err != nil {
		return nil, err
	}
	registry, conditions := prometheus.NewRegistry(), nodeconditions.NewTracker(time.Now)
	labelled := prometheus.WrapRegistererWith(prometheus.Labels{"node": cfg.Node.Name}, registry)
	labelled.MustRegister(conditions)
	cloud, err := cfg.CloudClient(cci.Config{
		Registerer: labelled, Outcome: conditions.Note, Guard: guard, Logger: logger,
	})
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
		config: cfg, clients: clients, guard: guard, cloud: cloud, registry: labelled, translator: translator,
		rules: rules, facts: cluster, services: server, logger: logger,
		informers: newInformers(clients.pods, cfg.Node.Name),
		recorder: boundedRecorder{broadcaster.NewRecorder(scheme.Scheme,
			corev1.EventSource{Component: "spillway-vnode", Host: cfg.Node.Name})},
	}
	a := &App{
		config: cfg, logger: logger, clients: clients, cloud: cloud, guard: guard, registry: registry,
		events: broadcaster, recorder: b.recorder, facts: cluster, services: server, conditions: conditions,
		informers: b.informers,
	}
	if err := a.assemble(b, rejections); err != nil {
		a.Close()
		return nil, err
	}
	pods = a.provider
	return a, nil
}

// assemble creates the parts. Each part is passed whole to the parts that need it.
func (a *App) assemble(b builder, rejections *serve.Rejections) error {
	var err error
	if a.node, err = b.node(); err != nil {
		return err
	}
	if a.inventory, err = b.inventory(); err != nil {
		return err
	}
	if a.mirrors, err = b.mirrors(a.inventory); err != nil {
		return err
	}
	if a.provider, err = b.provider(a.node, a.inventory, a.mirrors); err != nil {
		return err
	}
	if a.pods, err = b.podController(a.provider); err != nil {
		return err
	}
	if a.soldOut, err = b.soldOut(a.inventory, a.provider); err != nil {
		return err
	}
	if a.quota, err = b.quota(a.node, a.inventory); err != nil {
		return err
	}
	a.orphans = b.orphans()
	if a.snapshots, err = b.snapshots(); err != nil {
		return err
	}
	a.auth, err = kubelet.NewAuth(b.clients.tokens, b.clients.access, b.config.Node.Name, b.config.ClientCAFile)
	if err != nil {
		return err
	}
	handler, err := b.kubelet(a.auth, a.provider)
	if err != nil {
		return err
	}
	if a.kubeletPort, a.certificate, err = b.kubeletPort(handler); err != nil {
		return err
	}
	a.kubeletPort.Rejections = rejections
	return nil
}

// Close releases what New has created. It may be called again. Run calls it.
func (a *App) Close() {
	if a.mirrors != nil {
		a.mirrors.Close()
	}
	if a.provider != nil {
		a.provider.Close()
	}
	if a.auth != nil {
		a.auth.Close()
	}
	a.events.Shutdown()
	a.cloud.CloseIdleConnections()
}

// Gatherer returns the metrics of the virtual node. They have the label node.
func (a *App) Gatherer() prometheus.Gatherer { return a.registry }

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
