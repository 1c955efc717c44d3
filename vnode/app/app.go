package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	vknode "github.com/virtual-kubelet/virtual-kubelet/node"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"

	"github.com/spillway-k8s/spillway/internal/leaderelection"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cleanup/orphans"
	"github.com/spillway-k8s/spillway/vnode/config"
	"github.com/spillway-k8s/spillway/vnode/inventory"
	"github.com/spillway-k8s/spillway/vnode/kubelet"
	"github.com/spillway-k8s/spillway/vnode/metrics"
	"github.com/spillway-k8s/spillway/vnode/mirror"
	"github.com/spillway-k8s/spillway/vnode/node"
	"github.com/spillway-k8s/spillway/vnode/nodeconditions"
	"github.com/spillway-k8s/spillway/vnode/provider"
	"github.com/spillway-k8s/spillway/vnode/soldout"
	"github.com/spillway-k8s/spillway/vnode/translate"
	"github.com/spillway-k8s/spillway/vnode/usage"
)

const (
	// firstRetry and recheck need no tuning: they are the quickest that is not rude.
	firstRetry = 500 * time.Millisecond
	recheck    = 20 * time.Second
	// leasePrefix begins the name of a node's Lease.
	leasePrefix = "spillway-vnode-"
	// leaseDuration is long: whoever loses the Lease ends, and a restart of the API server is no reason to.
	leaseDuration = time.Minute
	// nodeLook is between two looks at what the Node should say about the cloud.
	nodeLook = 2 * time.Second
)

// App is the whole program: its parts, made and not yet started.
type App struct {
	config   *config.Config
	hostname string
	logger   *slog.Logger
	cloud    cci.API
	node     *node.Node
	// inventory, mirrors and provider are built in this order: each needs those before it.
	inventory *inventory.Inventory
	mirrors   *mirror.Mirrors
	provider  *provider.Provider
	soldOut   *soldout.Controller
	orphans   *orphans.Sweep
	trouble   *nodeconditions.Tracker
	pods      *vknode.PodController
	factory   informers.SharedInformerFactory
	auth      *kubelet.Auth
	kubelet   http.Handler
	// certificate is that of the kubelet port where the cluster signs it; nil where it comes from files.
	certificate *kubelet.Certificate
	// selfSigned is that of the kubelet port where nobody vouches for it; nil otherwise.
	selfSigned *tls.Certificate
	metrics    *metrics.Metrics
	recorders  record.EventBroadcaster
	// leader lets one process tend the node; leads tells whether it is this one.
	leader leaderelection.Leader
	leads  atomic.Bool
	events *kubernetes.Clientset
	// noPlace is what stands against the place in the cloud, nil where nothing does.
	noPlace atomic.Pointer[error]
}

// New makes all parts, checks what can be checked without asking anybody, and starts nothing.
func New(cfg *config.Config, hostname string, logger *slog.Logger) (*App, error) {
	a := &App{config: cfg, hostname: hostname, logger: logger, metrics: metrics.New(), recorders: record.NewBroadcaster(),
		trouble: nodeconditions.NewTracker(time.Now)}
	if err := a.makeCloud(); err != nil {
		return nil, err
	}
	tending, err := a.config.KubeClient("vnode")
	if err != nil {
		return nil, err
	}
	if err := a.makeNode(tending); err != nil {
		return nil, err
	}
	if err := a.makePods(tending); err != nil {
		return nil, err
	}
	if a.events, err = a.config.KubeClient("vnode"); err != nil {
		return nil, err
	}
	if err := a.makeLeader(); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *App) makeCloud() (err error) {
	a.cloud, err = a.config.CloudClient(cci.Config{
		Registerer: a.metrics.Registerer(), Outcome: a.trouble.Note, Logger: a.logger,
	})
	return err
}

// makeNode makes the Node and its kubelet port. The Node's client is its own: a burst of Pods must not delay its Lease.
func (a *App) makeNode(tending kubernetes.Interface) error {
	client, err := a.config.KubeClient("vnode")
	if err != nil {
		return err
	}
	port, err := a.config.KubeletPort()
	if err != nil {
		return err
	}
	c := a.config.Node
	a.node, err = node.New(node.Config{
		Name: c.Name, ClusterID: a.config.ClusterID, IP: c.IP, Port: port, Region: a.config.CCI.Region,
		Capacity: node.Capacity(c.CPU, c.Memory, c.EphemeralStorage, c.Pods),
	}, client, a.logger)
	if err != nil {
		return err
	}
	if err := a.makeCertificate(client); err != nil {
		return err
	}
	a.auth, err = kubelet.NewAuth(tending, c.Name, a.config.ClientCAFile)
	return err
}

// makeCertificate makes the kubelet port's certificate where it does not come from files.
func (a *App) makeCertificate(client kubernetes.Interface) (err error) {
	c := a.config.Node
	switch {
	case a.config.SelfSigned():
		a.selfSigned, err = kubelet.SelfSigned(c.Name, c.IP)
	case a.config.CertificateDir != "":
		a.certificate, err = kubelet.NewCertificate(client, c.Name, c.IP, a.config.CertificateDir, a.logger)
	}
	return err
}

// makeLeader makes what sees to it that one process tends the node. A Pod of a StatefulSet comes back under its name, which is its host's, and
// need not wait until its own Lease has run out.
func (a *App) makeLeader() error {
	client, err := a.config.KubeClient("vnode")
	if err != nil {
		return err
	}
	a.leader = leaderelection.Leader{
		Client: client, Namespace: a.config.LeaderElectionNamespace, Name: leasePrefix + a.config.Node.Name, Identity: a.hostname,
		Lease: leaseDuration, Leads: a.leads.Store, Logger: a.logger,
	}
	return nil
}

// makePods makes what tends Pods: the provider, and virtual-kubelet's controller over it.
func (a *App) makePods(client kubernetes.Interface) error {
	a.factory = informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(stripManagedFields),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", a.config.Node.Name).String()
		}))
	if err := a.makeProvider(client); err != nil {
		return err
	}
	var err error
	if a.kubelet, err = a.newKubelet(); err != nil {
		return err
	}
	if a.soldOut, err = a.newKeeper(client); err != nil {
		return err
	}
	cluster := orphans.API{Client: client.CoreV1()}
	a.orphans = &orphans.Sweep{
		Finder: &orphans.Finder{
			Cloud: a.cloud, Namespace: a.config.CCI.Namespace, ClusterID: a.config.ClusterID, Cluster: cluster, Nodes: cluster.MineOrNobodys(a.config.Node.Name), Gone: cluster.Gone(a.config.Node.Name),
		},
		Interval: a.config.CCI.OrphanInterval.Duration, Found: a.metrics.OrphansFound, Ended: a.metrics.OrphanEnded, Logger: a.logger,
	}
	a.pods, err = newPodController(a.provider, a.factory, client)
	return err
}

// newKeeper makes what locks the node while the cloud is sold out.
func (a *App) newKeeper(client kubernetes.Interface) (*soldout.Controller, error) {
	c := a.config.SoldOut
	return soldout.New(soldout.Config{
		Node: a.config.Node.Name, Timeout: c.Patience.Duration, Lock: c.Lock.Duration, Interval: nodeLook, Signs: c.SignsPattern(), StrandedPods: c.StuckPods,
		Cloud: a.inventory.All,
		Networks: func(ctx context.Context) ([]cci.Network, error) {
			return a.cloud.ListNetworks(ctx, a.config.CCI.Namespace)
		},
		Events: func(ctx context.Context, pod *cci.Pod) ([]corev1.Event, error) {
			return a.cloud.PodEvents(ctx, a.config.CCI.Namespace, pod.Name, pod.UID)
		},
		Client: client, Pods: a.factory.Core().V1().Pods().Lister(), Recorder: a.recorder(), Registerer: a.metrics.Registerer(),
		Now: time.Now, Logger: a.logger,
	})
}

func (a *App) recorder() record.EventRecorder {
	return a.recorders.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "spillway-vnode", Host: a.config.Node.Name})
}

func (a *App) newKubelet() (http.Handler, error) {
	used, err := usage.New(usage.Config{
		NodeName: a.config.Node.Name, Targets: a.provider.UsageTargets, Concurrency: a.config.Usage.Concurrency, Timeout: a.config.Usage.Timeout.Duration,
		// Pods are not behind a proxy, and a connection to each of thousands is not worth keeping.
		// A Pod must not send us elsewhere.
		Client: &http.Client{
			Transport:     &http.Transport{DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Now: time.Now, Registerer: a.metrics.Registerer(), Logger: a.logger,
	})
	if err != nil {
		return nil, err
	}
	return kubelet.New(kubelet.Config{Auth: a.auth, Pods: a.provider, PortForward: a.config.PortForward, Usage: used, Logger: a.logger})
}

// stripManagedFields halves the memory of a cached Pod.
func stripManagedFields(obj any) (any, error) {
	if object, ok := obj.(metav1.Object); ok {
		object.SetManagedFields(nil)
	}
	return obj, nil
}

// makeProvider makes the inventory of the cloud Pods, the mirrors and the provider over both.
func (a *App) makeProvider(client kubernetes.Interface) error {
	translation, p, pods := a.config.Translation(), a.config.Pods, a.factory.Core().V1().Pods().Informer()
	translator, err := translate.New(translation)
	if err != nil {
		return err
	}
	rules, err := policy.New(a.config.Policy)
	if err != nil {
		return err
	}
	a.inventory, err = inventory.New(inventory.Config{
		API: a.cloud, Namespace: a.config.CCI.Namespace, Owner: translation.Owner, WatchTimeout: a.config.CCI.WatchTimeout.Duration,
		RelistInterval: a.config.CCI.RelistInterval.Duration, MinRetryInterval: firstRetry, Now: time.Now, Registerer: a.metrics.Registerer(), Logger: a.logger,
	})
	if err != nil {
		return err
	}
	a.mirrors, err = mirror.New(mirror.Config{
		API: a.cloud, Namespace: a.config.CCI.Namespace, Owner: translation.Owner, Translator: translator, Sources: client.CoreV1(),
		Pods: pods, Inventory: a.inventory, Claims: a.config.CarriesClaims(), VolumeKinds: a.config.Policy.VolumeKinds,
		Refresh: p.MirrorRefresh.Duration, RemoveAfter: p.MirrorRemoval.Duration, Relist: a.config.CCI.RelistInterval.Duration,
		MinRetryInterval: firstRetry, MaxRetryInterval: p.LongestRetry.Duration, Now: time.Now, Registerer: a.metrics.Registerer(),
		Logger: a.logger,
	})
	if err != nil {
		return err
	}
	a.provider, err = provider.New(provider.Config{
		Cloud: a.cloud, Namespace: a.config.CCI.Namespace, Owner: translation.Owner, Inventory: a.inventory, Mirrors: a.mirrors,
		Translator: translator, Policy: rules, NodeIP: a.config.Node.IP, NodeDNS: a.node.DNS, Pods: pods, Client: client.CoreV1(),
		Recorder: a.recorder(), Workers: p.Workers, MinRetryInterval: firstRetry, MaxRetryInterval: p.LongestRetry.Duration,
		RefusalRetry: p.RefusalRetry.Duration, Recheck: recheck, Now: time.Now, Registerer: a.metrics.Registerer(), Logger: a.logger,
	})
	return err
}

// newPodController makes virtual-kubelet's controller with limits that do not limit: its own hold a node to ten Pods a second, and give up
// after twenty failures.
func newPodController(p *provider.Provider, pods informers.SharedInformerFactory, client kubernetes.Interface) (*vknode.PodController, error) {
	// The controller wants listers for what it would resolve itself. They are never started: the cluster's Secrets are none of ours.
	unstarted := informers.NewSharedInformerFactory(client, 0).Core().V1()
	forever := func(context.Context, string, int, time.Time, error) (*time.Duration, error) { return nil, nil }
	limiter := func() workqueue.TypedRateLimiter[any] {
		return workqueue.NewTypedItemExponentialFailureRateLimiter[any](5*time.Millisecond, 30*time.Second)
	}
	controller, err := vknode.NewPodController(vknode.PodControllerConfig{
		PodClient: p.PodsGetter(), PodInformer: pods.Core().V1().Pods(), EventRecorder: provider.DiscardEvents(), Provider: p,
		ConfigMapInformer: unstarted.ConfigMaps(), SecretInformer: unstarted.Secrets(), ServiceInformer: unstarted.Services(),
		SkipDownwardAPIResolution:                true,
		SyncPodsFromKubernetesRateLimiter:        limiter(),
		SyncPodsFromKubernetesShouldRetryFunc:    forever,
		DeletePodsFromKubernetesRateLimiter:      limiter(),
		DeletePodsFromKubernetesShouldRetryFunc:  forever,
		SyncPodStatusFromProviderRateLimiter:     limiter(),
		SyncPodStatusFromProviderShouldRetryFunc: forever,
	})
	if err != nil {
		return nil, fmt.Errorf("making the pod controller: %w", err)
	}
	return controller, nil
}
