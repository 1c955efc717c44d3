package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"os"
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
	"github.com/spillway-k8s/spillway/vnode/credentials"
	"github.com/spillway-k8s/spillway/vnode/inventory"
	"github.com/spillway-k8s/spillway/vnode/kubelet"
	"github.com/spillway-k8s/spillway/vnode/metrics"
	"github.com/spillway-k8s/spillway/vnode/mirror"
	"github.com/spillway-k8s/spillway/vnode/node"
	"github.com/spillway-k8s/spillway/vnode/nodeconditions"
	"github.com/spillway-k8s/spillway/vnode/orphans"
	"github.com/spillway-k8s/spillway/vnode/provider"
	"github.com/spillway-k8s/spillway/vnode/soldout"
	"github.com/spillway-k8s/spillway/vnode/translate"
	"github.com/spillway-k8s/spillway/vnode/usage"
)

const (
	// firstRetry and recheck need no tuning: they are the quickest that is not rude.
	firstRetry = 500 * time.Millisecond
	recheck    = 20 * time.Second
	// requestTries and requestDelay are for requests that may be repeated.
	requestTries = 4
	requestDelay = 200 * time.Millisecond
	// leasePrefix begins the name of a node's Lease.
	leasePrefix = "spillway-vnode-"
	// leaseDuration is long: whoever loses the Lease ends, and a restart of the API server is no reason to.
	leaseDuration = time.Minute
	// nodeLook is between two looks at what the Node should say about the cloud.
	nodeLook = 2 * time.Second
)

// vnode is the whole program: its parts, made and not yet started.
type vnode struct {
	config *Config
	logger *slog.Logger
	cloud  cci.API
	node   *node.Node
	// inventory, mirrors and provider are built in this order: each needs those before it.
	inventory *inventory.Inventory
	mirrors   *mirror.Mirrors
	provider  *provider.Provider
	soldOut   *soldout.Keeper
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

// newVNode makes all parts, checks what can be checked without asking anybody, and starts nothing.
func newVNode(config *Config, logger *slog.Logger) (*vnode, error) {
	v := &vnode{config: config, logger: logger, metrics: metrics.New(), recorders: record.NewBroadcaster(),
		trouble: nodeconditions.NewTracker(time.Now)}
	if err := v.makeCloud(); err != nil {
		return nil, err
	}
	tending, err := v.config.client("vnode")
	if err != nil {
		return nil, err
	}
	if err := v.makeNode(tending); err != nil {
		return nil, err
	}
	if err := v.makePods(tending); err != nil {
		return nil, err
	}
	if v.events, err = v.config.client("vnode"); err != nil {
		return nil, err
	}
	if err := v.makeLeader(); err != nil {
		return nil, err
	}
	return v, nil
}

// client makes a client of the cluster, with a rate limit of its own. program is who it says it is.
func (c *Config) client(program string) (*kubernetes.Clientset, error) {
	rest, err := c.Kube.REST(program)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return nil, fmt.Errorf("making the client of the cluster: %w", err)
	}
	return client, nil
}

func (v *vnode) makeCloud() (err error) {
	v.cloud, err = v.config.cloud(cci.Config{Registerer: v.metrics.Registerer(), Outcome: v.trouble.Note, Logger: v.logger})
	return err
}

// cloud makes a client of the cloud; watched is who hears of its requests.
func (c *Config) cloud(watched cci.Config) (*cci.Client, error) {
	watched.Version = c.Policy.CCIVersion
	return c.CCI.client(watched)
}

func (c CCIConfig) client(watched cci.Config) (*cci.Client, error) {
	keys, err := c.credentials(watched.Logger)
	if err != nil {
		return nil, err
	}
	watched.Endpoint, watched.ProjectID, watched.Credentials = c.endpoint(), c.ProjectID, keys
	watched.QPS, watched.Burst, watched.RequestTimeout = c.QPS, c.Burst, c.RequestTimeout.Duration
	watched.Tries, watched.RetryDelay = requestTries, requestDelay
	watched.Exec = cci.ExecConfig{Handshake: c.Exec.Handshake, IAMEndpoint: c.iamEndpoint(), KeepAlive: c.Exec.KeepAlive.Duration}
	return cci.New(watched)
}

// credentials are what requests to the cloud are signed with. They follow their source.
func (c CCIConfig) credentials(logger *slog.Logger) (*credentials.Source, error) {
	switch c.CredentialsFrom {
	case fromMachine:
		return credentials.FromMachine(logger)
	case fromPodIdentity:
		return credentials.FromPodIdentity(logger)
	}
	return credentials.FromFile(c.CredentialsFile, logger)
}

// makeNode makes the Node and its kubelet port. The Node's client is its own: a burst of Pods must not delay its Lease.
func (v *vnode) makeNode(tending kubernetes.Interface) error {
	client, err := v.config.client("vnode")
	if err != nil {
		return err
	}
	port, err := v.config.port()
	if err != nil {
		return err
	}
	c := v.config.Node
	v.node, err = node.New(node.Config{
		Name: c.Name, ClusterID: v.config.ClusterID, IP: c.IP, Port: port, Region: v.config.CCI.Region,
		Capacity: node.Capacity(c.CPU, c.Memory, c.EphemeralStorage, c.Pods),
	}, client, v.logger)
	if err != nil {
		return err
	}
	if err := v.makeCertificate(client); err != nil {
		return err
	}
	v.auth, err = kubelet.NewAuth(tending, c.Name, v.config.ClientCAFile)
	return err
}

// makeCertificate makes the kubelet port's certificate where it does not come from files.
func (v *vnode) makeCertificate(client kubernetes.Interface) (err error) {
	c := v.config.Node
	switch {
	case v.config.selfSigned():
		v.selfSigned, err = kubelet.SelfSigned(c.Name, c.IP)
	case v.config.CertificateDir != "":
		v.certificate, err = kubelet.NewCertificate(client, c.Name, c.IP, v.config.CertificateDir, v.logger)
	}
	return err
}

// makeLeader makes what sees to it that one process tends the node. A Pod of a StatefulSet comes back under its name, which is its host's, and
// need not wait until its own Lease has run out.
func (v *vnode) makeLeader() error {
	client, err := v.config.client("vnode")
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("asking for the host's name: %w", err)
	}
	v.leader = leaderelection.Leader{
		Client: client, Namespace: v.config.LeaderElectionNamespace, Name: leasePrefix + v.config.Node.Name, Identity: host,
		Lease: leaseDuration, Leads: v.leads.Store, Logger: v.logger,
	}
	return nil
}

// makePods makes what tends Pods: the provider, and virtual-kubelet's controller over it.
func (v *vnode) makePods(client kubernetes.Interface) error {
	v.factory = informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(stripManagedFields),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", v.config.Node.Name).String()
		}))
	if err := v.makeProvider(client); err != nil {
		return err
	}
	var err error
	if v.kubelet, err = v.newKubelet(); err != nil {
		return err
	}
	if v.soldOut, err = v.newKeeper(client); err != nil {
		return err
	}
	cluster := orphans.API{Client: client.CoreV1()}
	v.orphans = &orphans.Sweep{
		Finder: &orphans.Finder{
			Cloud: v.cloud, Namespace: v.config.CCI.Namespace, ClusterID: v.config.ClusterID, Cluster: cluster, Nodes: cluster.MineOrNobodys(v.config.Node.Name), Gone: cluster.Gone(v.config.Node.Name),
		},
		Interval: v.config.CCI.OrphanInterval.Duration, Found: v.metrics.OrphansFound, Ended: v.metrics.OrphanEnded, Logger: v.logger,
	}
	v.pods, err = newPodController(v.provider, v.factory, client)
	return err
}

// newKeeper makes what locks the node while the cloud is sold out.
func (v *vnode) newKeeper(client kubernetes.Interface) (*soldout.Keeper, error) {
	c := v.config.SoldOut
	return soldout.New(soldout.Config{
		Node: v.config.Node.Name, Timeout: c.Patience.Duration, Lock: c.Lock.Duration, Interval: nodeLook, Signs: c.signs(), StrandedPods: c.StuckPods,
		Cloud: v.inventory.All,
		Networks: func(ctx context.Context) ([]cci.Network, error) {
			return v.cloud.ListNetworks(ctx, v.config.CCI.Namespace)
		},
		Events: func(ctx context.Context, pod *cci.Pod) ([]corev1.Event, error) {
			return v.cloud.PodEvents(ctx, v.config.CCI.Namespace, pod.Name, pod.UID)
		},
		Client: client, Pods: v.factory.Core().V1().Pods().Lister(), Recorder: v.recorder(), Registerer: v.metrics.Registerer(),
		Now: time.Now, Logger: v.logger,
	})
}

func (v *vnode) recorder() record.EventRecorder {
	return v.recorders.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "spillway-vnode", Host: v.config.Node.Name})
}

func (v *vnode) newKubelet() (http.Handler, error) {
	used, err := usage.New(usage.Config{
		NodeName: v.config.Node.Name, Targets: v.provider.UsageTargets, Concurrency: v.config.Usage.Concurrency, Timeout: v.config.Usage.Timeout.Duration,
		// Pods are not behind a proxy, and a connection to each of thousands is not worth keeping.
		// A Pod must not send us elsewhere.
		Client: &http.Client{
			Transport:     &http.Transport{DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Now: time.Now, Asked: v.metrics.ExporterAsked, Logger: v.logger,
	})
	if err != nil {
		return nil, err
	}
	return kubelet.New(kubelet.Config{Auth: v.auth, Pods: v.provider, PortForward: v.config.PortForward, Usage: used, Logger: v.logger})
}

// stripManagedFields halves the memory of a cached Pod.
func stripManagedFields(obj any) (any, error) {
	if object, ok := obj.(metav1.Object); ok {
		object.SetManagedFields(nil)
	}
	return obj, nil
}

// makeProvider makes the inventory of the cloud Pods, the mirrors and the provider over both.
func (v *vnode) makeProvider(client kubernetes.Interface) error {
	translation, p, pods := v.config.translation(), v.config.Pods, v.factory.Core().V1().Pods().Informer()
	translator, err := translate.New(translation)
	if err != nil {
		return err
	}
	rules, err := policy.New(v.config.Policy)
	if err != nil {
		return err
	}
	v.inventory, err = inventory.New(inventory.Config{
		API: v.cloud, Namespace: v.config.CCI.Namespace, Owner: translation.Owner, WatchTimeout: v.config.CCI.WatchTimeout.Duration,
		RelistInterval: v.config.CCI.RelistInterval.Duration, MinRetryInterval: firstRetry, Registerer: v.metrics.Registerer(), Logger: v.logger,
	})
	if err != nil {
		return err
	}
	v.mirrors, err = mirror.New(mirror.Config{
		API: v.cloud, Namespace: v.config.CCI.Namespace, Owner: translation.Owner, Translator: translator, Sources: client.CoreV1(),
		Pods: pods, Inventory: v.inventory, Claims: v.config.carriesClaims(), VolumeKinds: v.config.Policy.VolumeKinds,
		Refresh: p.MirrorRefresh.Duration, RemoveAfter: p.MirrorRemoval.Duration, Relist: v.config.CCI.RelistInterval.Duration,
		MinRetryInterval: firstRetry, MaxRetryInterval: p.LongestRetry.Duration, Now: time.Now, Registerer: v.metrics.Registerer(),
		Logger: v.logger,
	})
	if err != nil {
		return err
	}
	v.provider, err = provider.New(provider.Config{
		Cloud: v.cloud, Namespace: v.config.CCI.Namespace, Owner: translation.Owner, Inventory: v.inventory, Mirrors: v.mirrors,
		Translator: translator, Policy: rules, NodeIP: v.config.Node.IP, NodeDNS: v.node.DNS, Pods: pods, Client: client.CoreV1(),
		Recorder: v.recorder(), Workers: p.Workers, MinRetryInterval: firstRetry, MaxRetryInterval: p.LongestRetry.Duration,
		RefusalRetry: p.RefusalRetry.Duration, Recheck: recheck, Now: time.Now, Registerer: v.metrics.Registerer(), Logger: v.logger,
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
