package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	vknode "github.com/virtual-kubelet/virtual-kubelet/node"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"

	"github.com/spillway-k8s/spillway/internal/facts"
	"github.com/spillway-k8s/spillway/internal/prices"
	"github.com/spillway-k8s/spillway/internal/serve"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cleanup/orphans"
	"github.com/spillway-k8s/spillway/vnode/config"
	"github.com/spillway-k8s/spillway/vnode/inventory"
	"github.com/spillway-k8s/spillway/vnode/kubelet"
	"github.com/spillway-k8s/spillway/vnode/mirror"
	"github.com/spillway-k8s/spillway/vnode/node"
	"github.com/spillway-k8s/spillway/vnode/provider"
	"github.com/spillway-k8s/spillway/vnode/quota"
	"github.com/spillway-k8s/spillway/vnode/services"
	"github.com/spillway-k8s/spillway/vnode/snapshots"
	"github.com/spillway-k8s/spillway/vnode/soldout"
	"github.com/spillway-k8s/spillway/vnode/translate"
	"github.com/spillway-k8s/spillway/vnode/usage"
)

const (
	// minRetryInterval is the delay after a first failure. It needs no tuning: shorter delays would load a failing
	// service.
	minRetryInterval = 500 * time.Millisecond
	// recheckInterval is how often a Pod that waits for something is reconciled without an event.
	recheckInterval = 20 * time.Second
	// nodeInterval is how often the conditions and the lock of the Node are reconciled.
	nodeInterval = 2 * time.Second
	// quotaInterval is how often the quotas of the cloud namespace are read.
	quotaInterval = time.Minute
)

// builder holds what several parts need. Its methods return one part each, from what they are passed, and change
// nothing.
type builder struct {
	config     *config.Config
	clients    clients
	cloud      cci.API
	guard      Guard
	registry   prometheus.Registerer
	translator *translate.Translator
	rules      *policy.Policy
	facts      *facts.Cluster
	services   *services.Server
	informers  informers.SharedInformerFactory
	recorder   record.EventRecorder
	logger     *slog.Logger
}

// servicesOf returns the Services that Pods of a namespace can reach. No Pod asks for them unless they are followed.
func (b builder) servicesOf(namespace string) ([]*corev1.Service, error) {
	if b.services == nil {
		return nil, errors.New("this virtual node does not follow Services")
	}
	return b.services.Services(namespace)
}

func (b builder) node() (*node.Node, error) {
	c := b.config.Node
	return node.New(node.Config{
		Name: c.Name, ClusterID: b.config.ClusterID, IP: c.IP, Port: b.config.KubeletPort(),
		Region: b.config.CCI.Region,
		Zone:   c.Zone, Labels: c.Labels, Taints: c.Taints,
		HostnameLabel: c.HostnameLabel, TopologyHints: c.TopologyHints,
		Capacity: node.Capacity(c.CPU, c.Memory, c.EphemeralStorage, c.Pods),
	}, b.clients.node, b.clients.account, b.logger)
}

func (b builder) inventory() (*inventory.Inventory, error) {
	return inventory.New(inventory.Config{
		API: b.cloud, Namespace: b.config.CCI.Namespace, Owner: b.config.Owner(),
		WatchTimeout: b.config.CCI.WatchTimeout.Duration, RelistInterval: b.config.CCI.RelistInterval.Duration,
		MinRetryInterval: minRetryInterval, Now: time.Now, Registerer: b.registry, Logger: b.logger,
	})
}

func (b builder) mirrors(cloudPods *inventory.Inventory) (*mirror.Mirrors, error) {
	c := b.config.Pods
	var kubeconfig func(*corev1.Pod) ([]byte, error)
	if b.config.ServesServices() {
		kubeconfig = b.services.Kubeconfig
	}
	return mirror.New(mirror.Config{
		API: b.cloud, Namespace: b.config.CCI.Namespace, Owner: b.config.Owner(), Translator: b.translator,
		Kubeconfig: kubeconfig,
		Sources:    b.clients.pods.CoreV1(), Pods: b.informers.Core().V1().Pods().Informer(), Inventory: cloudPods,
		Claims: b.config.CopiesClaims(), VolumeKinds: b.config.Policy.VolumeKinds,
		Limits: mirror.Limits{
			ObjectsPerPod: c.MirrorLimits.ObjectsPerPod, ObjectsPerNamespace: c.MirrorLimits.ObjectsPerNamespace,
			BytesPerNamespace: c.MirrorLimits.BytesPerNamespace.Value(),
		},
		Refresh: c.MirrorRefresh.Duration, RemoveAfter: c.MirrorRemoval.Duration,
		Relist:           b.config.CCI.RelistInterval.Duration,
		MinRetryInterval: minRetryInterval, MaxRetryInterval: c.MaxRetryInterval.Duration,
		Now: time.Now, Registerer: b.registry, Logger: b.logger,
	})
}

func (b builder) provider(
	virtualNode *node.Node, cloudPods *inventory.Inventory, mirrors *mirror.Mirrors,
) (*provider.Provider, error) {
	c := b.config.Pods
	table, err := prices.New(b.config.Prices)
	if err != nil {
		return nil, err
	}
	return provider.New(provider.Config{
		Cloud: b.cloud, Namespace: b.config.CCI.Namespace, Owner: b.config.Owner(), Inventory: cloudPods,
		Mirrors: mirrors, Translator: b.translator, Policy: b.rules, Facts: b.facts,
		NodeIP: b.config.Node.IP, NodeDNS: virtualNode.DNS, Services: b.servicesOf,
		Pods: b.informers.Core().V1().Pods().Informer(), Client: b.clients.pods.CoreV1(), Recorder: b.recorder,
		Workers: c.Workers, MinRetryInterval: minRetryInterval, MaxRetryInterval: c.MaxRetryInterval.Duration,
		RefusalRetry: c.RefusalRetry.Duration, Recheck: recheckInterval,
		Prices: table, Now: time.Now, Registerer: b.registry, Logger: b.logger,
	})
}

// soldOut returns the controller that locks the node while the cloud is sold out.
func (b builder) soldOut(cloudPods *inventory.Inventory, pods *provider.Provider) (*soldout.Controller, error) {
	c := b.config.SoldOut
	var probe *cci.Pod
	if c.ProbeImage != "" {
		var err error
		if probe, err = soldout.NewProbe(b.translator, b.config.Owner(), c.ProbeImage); err != nil {
			return nil, err
		}
	}
	return soldout.New(soldout.Config{
		Owner: b.config.Owner(), Timeout: c.Timeout.Duration, FirstLock: c.FirstLock.Duration, Lock: c.Lock.Duration,
		Interval: nodeInterval, Signs: c.SignsPattern(), Probe: probe, StrandedPods: c.StrandedPods,
		CloudPods: cloudPods.All, QuotaRefusals: pods.QuotaRefusals, RetryQuota: pods.RetryQuota,
		API: b.cloud, CloudNamespace: b.config.CCI.Namespace,
		Client: b.clients.pods, Pods: b.informers.Core().V1().Pods().Lister(), Recorder: b.recorder,
		Now: time.Now, Registerer: b.registry, Logger: b.logger,
	})
}

// quota returns what keeps the capacity of the node within the quotas of its cloud namespace, nil with CCI 2.0, which
// shows none.
func (b builder) quota(virtualNode *node.Node, cloudPods *inventory.Inventory) (*quota.Follower, error) {
	if b.config.Policy.CCIVersion != policy.CCI1 {
		return nil, nil
	}
	c := b.config.Node
	return quota.New(quota.Config{
		API: b.cloud, Namespace: b.config.CCI.Namespace, Node: c.Name,
		Configured: node.Capacity(c.CPU, c.Memory, c.EphemeralStorage, c.Pods),
		CloudPods:  cloudPods.All, Set: virtualNode.SetResources, Interval: quotaInterval, Logger: b.logger,
	})
}

// orphans returns the sweep that deletes what the watches and former nodes have left in the cloud.
func (b builder) orphans() *orphans.Sweep {
	cluster, name := b.config.Cluster("vnode", b.clients.account, b.guard.Wrap), b.config.Node.Name
	return orphans.NewSweep(orphans.SweepConfig{
		Finder: &orphans.Finder{
			Cloud: b.cloud, Namespace: b.config.CCI.Namespace, ClusterID: b.config.ClusterID,
			Cluster: cluster, Nodes: cluster.MineOrGone(name), Gone: cluster.Gone(name),
			Snapshots: b.config.CCI.ImageSnapshots.Keep > 0,
		},
		Interval: b.config.CCI.OrphanInterval.Duration, Registerer: b.registry, Logger: b.logger,
	})
}

// snapshots returns the keeper of image snapshots, nil if none are configured.
func (b builder) snapshots() (*snapshots.Keeper, error) {
	c := b.config.CCI
	if c.ImageSnapshots.Keep == 0 {
		return nil, nil
	}
	return snapshots.New(snapshots.Config{
		API: b.cloud, Owner: b.config.Owner(), Namespace: c.Namespace, PullSecret: b.config.Pods.PullSecret,
		Pods: b.informers.Core().V1().Pods().Informer(), Images: b.translator.SnapshotImages,
		Keep: c.ImageSnapshots.Keep, Interval: c.ImageSnapshots.Interval.Duration,
		Removal: c.ImageSnapshots.Removal.Duration, Renewal: c.ImageSnapshots.Renewal.Duration,
		Now: time.Now, Registerer: b.registry, Logger: b.logger,
	})
}

// kubelet returns the handler of the kubelet port.
func (b builder) kubelet(auth *kubelet.Auth, pods *provider.Provider) (http.Handler, error) {
	collector, err := usage.New(usage.Config{
		NodeName: b.config.Node.Name, Targets: pods.UsageTargets,
		Concurrency: b.config.Usage.Concurrency, Timeout: b.config.Usage.Timeout.Duration, Client: usageClient(),
		Now: time.Now, Registerer: b.registry, Logger: b.logger,
	})
	if err != nil {
		return nil, err
	}
	return kubelet.New(kubelet.Config{
		Auth: auth, Pods: pods, PortForward: b.config.PortForward, Usage: collector, Logger: b.logger,
	})
}

// kubeletPort returns the server of the kubelet port, and its certificate if the cluster signs it.
func (b builder) kubeletPort(handler http.Handler) (serve.Server, *kubelet.Certificate, error) {
	c := b.config
	server := serve.Server{
		Name: "kubelet", Address: c.Listen, Handler: handler, CertFile: c.TLSCertFile, KeyFile: c.TLSPrivateKeyFile,
		TLS: &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequestClientCert}, Streaming: true,
	}
	switch {
	case c.IsSelfSigned():
		certificate, err := kubelet.SelfSigned(c.Node.Name, c.Node.IP)
		if err != nil {
			return serve.Server{}, nil, err
		}
		server.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate, nil }
	case c.CertificateDir != "":
		certificate, err := kubelet.NewCertificate(b.clients.node, c.Node.Name, c.Node.IP, c.CertificateDir, b.logger)
		if err != nil {
			return serve.Server{}, nil, err
		}
		server.GetCertificate = certificate.Get
		return server, certificate, nil
	}
	return server, nil, nil
}

// newInformers returns informers for the Pods that are bound to the node.
func newInformers(client kubernetes.Interface, nodeName string) informers.SharedInformerFactory {
	return informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(translate.Trim),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", nodeName).String()
		}))
}

// podController returns virtual-kubelet's controller, with rate limits and retries that do not hold up Pods. By
// default it processes ten Pods per second and gives up after twenty failures.
func (b builder) podController(pods *provider.Provider) (*vknode.PodController, error) {
	// The controller requires informers for objects that the provider resolves itself. They are never started: virtual
	// nodes must not read all Secrets of the cluster.
	unstarted := informers.NewSharedInformerFactory(b.clients.pods, 0).Core().V1()
	retry := func(context.Context, string, int, time.Time, error) (*time.Duration, error) { return nil, nil }
	limiter := func() workqueue.TypedRateLimiter[any] {
		return workqueue.NewTypedItemExponentialFailureRateLimiter[any](5*time.Millisecond, 30*time.Second)
	}
	controller, err := vknode.NewPodController(vknode.PodControllerConfig{
		PodClient: pods.PodsGetter(), PodInformer: b.informers.Core().V1().Pods(),
		EventRecorder: provider.DiscardEvents(), Provider: pods,
		ConfigMapInformer: unstarted.ConfigMaps(), SecretInformer: unstarted.Secrets(),
		ServiceInformer:                          unstarted.Services(),
		SkipDownwardAPIResolution:                true,
		SyncPodsFromKubernetesRateLimiter:        limiter(),
		SyncPodsFromKubernetesShouldRetryFunc:    retry,
		DeletePodsFromKubernetesRateLimiter:      limiter(),
		DeletePodsFromKubernetesShouldRetryFunc:  retry,
		SyncPodStatusFromProviderRateLimiter:     limiter(),
		SyncPodStatusFromProviderShouldRetryFunc: retry,
	})
	if err != nil {
		return nil, fmt.Errorf("creating the pod controller: %w", err)
	}
	return controller, nil
}
