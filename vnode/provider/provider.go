package provider

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/prices"
	"github.com/spillway-k8s/spillway/internal/worker"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/inventory"
	"github.com/spillway-k8s/spillway/vnode/mirror"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// Config configures a Provider. All fields but Registerer and Prices are required.
type Config struct {
	// Cloud and Namespace are where the cloud Pods run. Owner is the node that they belong to.
	Cloud     cci.API
	Namespace string
	Owner     identity.Owner
	// Inventory is the copy of the cloud Pods, and Mirrors keeps the copies of the objects that Pods refer to. The
	// caller runs both.
	Inventory *inventory.Inventory
	Mirrors   *mirror.Mirrors
	// Translator translates Pods to cloud Pods of Owner.
	Translator *translate.Translator
	// Policy decides about Pods once more before their cloud Pods are created, from the Pod and Facts. The translation
	// decides about claims: it knows which ones it can mount.
	Policy *policy.Policy
	Facts  Facts
	// NodeIP is the address of the node's kubelet port.
	NodeIP string
	// NodeDNS returns the DNS configuration in the node's annotation, nil if there is none. It must not block.
	NodeDNS func() *corev1.PodDNSConfig
	// Services returns the Services of a namespace, and the Service kubernetes of namespace default. It returns an
	// error if they are not known. It must not block.
	Services func(namespace string) ([]*corev1.Service, error)
	// Pods holds the Pods of this node only.
	Pods cache.SharedIndexInformer
	// Client reads a Pod before its cloud Pod is deleted as an orphan, and removes Pods whose cloud Pods are gone.
	Client corev1client.PodsGetter
	// Recorder records the Events of Pods.
	Recorder record.EventRecorder
	// Workers is the number of Pods that are reconciled at the same time.
	Workers int
	// MinRetryInterval and MaxRetryInterval bound the time between two attempts after an error; it doubles from one to
	// the other.
	MinRetryInterval, MaxRetryInterval time.Duration
	// RefusalRetry is the time until a Pod that the cloud has refused is retried: its quota may have grown.
	RefusalRetry time.Duration
	// Recheck is how often a cloud Pod whose deletion is overdue is read from the cloud.
	Recheck time.Duration
	// Prices are the prices of the cloud, nil without any.
	Prices *prices.Table
	// Now is the clock.
	Now func() time.Time
	// Registerer registers the metrics of this package; nil registers nothing.
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

// Facts are what a decision depends on besides the Pod. No method blocks.
type Facts interface {
	// Ready reports whether the cluster's answers are known.
	Ready() bool
	// Global returns the global switch.
	Global() policy.Switch
	// Namespace returns the annotations of a namespace. It returns an error if they are not known.
	Namespace(name string) (annotations map[string]string, err error)
	// NamespaceLabels returns the labels of a namespace.
	NamespaceLabels(name string) map[string]string
}

// Provider implements virtual-kubelet's PodLifecycleHandler and PodNotifier.
type Provider struct {
	config    Config
	cloud     cci.API
	namespace string
	owner     identity.Owner
	inventory *inventory.Inventory
	mirrors   *mirror.Mirrors
	metrics   metrics
	rules     *policy.Policy
	pods      corelisters.PodLister
	loop      *worker.Loop[identity.Key]

	// notified is closed when virtual-kubelet has called NotifyPods, which sets notify.
	notified chan struct{}
	notify   func(*corev1.Pod)

	reserved reservations
	costs    costs

	mu     sync.Mutex
	states map[identity.Key]*podState
	// written holds the Pods whose last write the watch has not delivered yet.
	written map[identity.Key]writtenPod
}

// New checks the configuration and returns a Provider. It starts nothing but a timer, which Close ends. It must be
// called before the informer and the inventory run.
func New(config Config) (*Provider, error) {
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("creating the provider: %w", err)
	}
	p := &Provider{
		config:    config,
		cloud:     config.Cloud,
		namespace: config.Namespace,
		owner:     config.Owner,
		inventory: config.Inventory,
		mirrors:   config.Mirrors,
		metrics:   newMetrics(config.Registerer),
		rules:     config.Policy.Without(policy.ReasonPersistentVolume),
		pods:      corelisters.NewPodLister(config.Pods.GetIndexer()),
		notified:  make(chan struct{}),
		states:    map[identity.Key]*podState{},
		written:   map[identity.Key]writtenPod{},
		reserved:  reservations{uses: map[string]map[identity.Key]policy.CloudUse{}},
		costs:     costs{ended: map[string]*big.Rat{}},
	}
	var err error
	// The retry intervals are those of each Pod. There is no rate limit for all Pods: the client of the cloud has one.
	p.loop, err = worker.New(worker.Config[identity.Key]{
		Name: "pods", Workers: config.Workers, Namespace: func(key identity.Key) string { return key.Namespace },
		Reconcile: p.work, RetryAfter: cci.RetryAfter, Failed: p.failed,
		MinRetryInterval: config.MinRetryInterval, MaxRetryInterval: config.MaxRetryInterval,
	})
	if err != nil {
		return nil, fmt.Errorf("creating the provider: %w", err)
	}
	config.Inventory.OnChange(p.cloudChanged)
	if _, err := config.Pods.AddEventHandler(p.podHandler()); err != nil {
		return nil, fmt.Errorf("watching the pods of the node: %w", err)
	}
	if config.Registerer != nil {
		config.Registerer.MustRegister(podCounter{p})
		if config.Prices != nil {
			config.Registerer.MustRegister(costCollector{p})
		}
	}
	return p, nil
}

func (c Config) validate() error {
	var errs []error
	for _, field := range []struct {
		name  string
		given bool
	}{
		{"Cloud", c.Cloud != nil}, {"Namespace", c.Namespace != ""}, {"Inventory", c.Inventory != nil},
		{"Mirrors", c.Mirrors != nil}, {"Translator", c.Translator != nil}, {"Policy", c.Policy != nil},
		{"Facts", c.Facts != nil},
		{"NodeDNS", c.NodeDNS != nil}, {"Services", c.Services != nil}, {"Pods", c.Pods != nil},
		{"Client", c.Client != nil},
		{"Recorder", c.Recorder != nil}, {"Now", c.Now != nil}, {"Logger", c.Logger != nil},
	} {
		if !field.given {
			errs = append(errs, fmt.Errorf("%s: must be given", field.name))
		}
	}
	if c.Workers <= 0 || c.MinRetryInterval <= 0 || c.MaxRetryInterval < c.MinRetryInterval ||
		c.RefusalRetry <= 0 || c.Recheck <= 0 {
		errs = append(errs, fmt.Errorf("workers %d, retry intervals %s to %s, refusal retry %s and recheck %s: "+
			"must be above zero, the maximum no shorter than the minimum",
			c.Workers, c.MinRetryInterval, c.MaxRetryInterval, c.RefusalRetry, c.Recheck))
	}
	return errors.Join(errs...)
}

// Close releases what New has created. It may be called again. It does not block.
func (p *Provider) Close() { p.loop.Close() }

// Run reconciles Pods until ctx ends. It blocks, and returns when no request is in progress. It does nothing before
// the Pods of the cluster, the cloud Pods and the mirrors are known and virtual-kubelet has called NotifyPods.
func (p *Provider) Run(ctx context.Context) error {
	if !p.waitReady(ctx) {
		return nil
	}
	return p.loop.Run(ctx)
}

func (p *Provider) waitReady(ctx context.Context) bool {
	if !cache.WaitForCacheSync(ctx.Done(), p.config.Pods.HasSynced) {
		return false
	}
	for _, ready := range []<-chan struct{}{p.inventory.Synced(), p.mirrors.Synced(), p.notified} {
		select {
		case <-ctx.Done():
			return false
		case <-ready:
		}
	}
	return true
}

// FactsChanged queues the Pods without a cloud Pod: the answers of Facts have changed, or are known now. It does not
// block and may be called at any time.
func (p *Provider) FactsChanged() {
	for _, pod := range p.List() {
		if key := identity.KeyOf(pod); !translate.IsTerminal(pod.Status.Phase) && p.inventory.Get(key) == nil {
			p.loop.Add(key)
		}
	}
}

// work reconciles one Pod for the worker loop.
func (p *Provider) work(ctx context.Context, key identity.Key) (time.Duration, error) {
	requeueAfter, err := p.reconcile(ctx, key)
	if err == nil {
		p.updateKnown(key, func(s *podState) { s.failures = 0 })
	}
	return requeueAfter, err
}

// failed records a failed attempt.
func (p *Provider) failed(key identity.Key, failures int, delay time.Duration, err error) {
	p.config.Logger.Warn("a pod will be retried",
		logging.Pod(key.Namespace, key.Name, key.UID), "failures", failures, "retryAfter", delay, "err", err)
	p.updateKnown(key, func(s *podState) { s.failures = failures })
	p.delayAttempt(key, delay)
}

// cloudChanged handles a change in the cloud.
func (p *Provider) cloudChanged(key identity.Key, pod *cci.Pod, state inventory.State) {
	switch state {
	case inventory.Gone:
		p.update(key, func(s *podState) { s.last, s.gone = pod, true })
	case inventory.Missing:
		p.update(key, func(s *podState) { s.last = pod })
	case inventory.Present:
		p.updateKnown(key, func(s *podState) { s.gone = false })
	}
	p.cloudFreed(key, pod, state == inventory.Present)
	p.loop.Add(key)
}

func (p *Provider) now() metav1.Time { return metav1.NewTime(p.config.Now()) }
