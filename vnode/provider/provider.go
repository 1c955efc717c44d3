package provider

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/inventory"
	"github.com/spillway-k8s/spillway/vnode/mirror"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// Config is what a Provider needs. All fields must be given unless their comment says otherwise.
type Config struct {
	// Cloud and Namespace are where the cloud Pods run. Owner is the node that they belong to.
	Cloud     cci.API
	Namespace string
	Owner     identity.Owner
	// Inventory is the copy of the cloud Pods, and Mirrors keeps the copies of what Pods refer to. The caller runs both.
	Inventory *inventory.Inventory
	Mirrors   *mirror.Mirrors
	// Translator makes cloud Pods, for Owner.
	Translator *translate.Translator
	// Policy is the last line of defence against Pods that the cloud cannot run.
	Policy *policy.Policy
	// NodeIP is the address of the node's kubelet port.
	NodeIP string
	// NodeDNS is the DNS that the node's annotation asks for, nil where it asks for none. It must not block.
	NodeDNS func() *corev1.PodDNSConfig
	// Pods holds the Pods of this node only.
	Pods cache.SharedIndexInformer
	// Client asks for a Pod before a cloud Pod is ended as an orphan, and ends Pods whose cloud Pods are gone.
	Client corev1client.PodsGetter
	// Recorder gets the events of Pods.
	Recorder record.EventRecorder
	// Workers is how many Pods are worked on at once.
	Workers int
	// MinRetryInterval and MaxRetryInterval bound the time between two attempts after an error; it doubles from one to the other.
	MinRetryInterval, MaxRetryInterval time.Duration
	// RefusalRetry is how long until a Pod is tried again that the cloud has refused: its quota may have grown.
	RefusalRetry time.Duration
	// Recheck is how often the cloud is asked for a Pod whose end is overdue.
	Recheck time.Duration
	// Now is the clock.
	Now func() time.Time
	// Registerer registers the metrics of this package; nil registers nothing.
	Registerer prometheus.Registerer
	Logger     *slog.Logger
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
	pods      corelisters.PodLister
	queue     workqueue.TypedDelayingInterface[identity.Key]
	// failures paces what failed: per Pod, and no bucket for all of them, as the client of the cloud has one.
	failures workqueue.TypedRateLimiter[identity.Key]

	// notified is closed once virtual-kubelet has said where status goes.
	notified chan struct{}
	notify   func(*corev1.Pod)

	mu       sync.Mutex
	memories map[identity.Key]*memory
}

// errNotYet is the result of a Pod whose cloud Pod was tried to be made a moment ago.
var errNotYet = errors.New("too early to try again")

// New checks the configuration and starts nothing.
func New(config Config) (*Provider, error) {
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("making the provider: %w", err)
	}
	p := &Provider{
		config:    config,
		cloud:     config.Cloud,
		namespace: config.Namespace,
		owner:     config.Owner,
		inventory: config.Inventory,
		mirrors:   config.Mirrors,
		metrics:   newMetrics(config.Registerer),
		pods:      corelisters.NewPodLister(config.Pods.GetIndexer()),
		queue:     workqueue.NewTypedDelayingQueue[identity.Key](),
		failures:  workqueue.NewTypedItemExponentialFailureRateLimiter[identity.Key](config.MinRetryInterval, config.MaxRetryInterval),
		notified:  make(chan struct{}),
		memories:  map[identity.Key]*memory{},
	}
	config.Inventory.OnChange(p.cloudChanged)
	if _, err := config.Pods.AddEventHandler(p.podHandler()); err != nil {
		return nil, fmt.Errorf("watching the pods of the node: %w", err)
	}
	if config.Registerer != nil {
		config.Registerer.MustRegister(podCounter{p})
	}
	return p, nil
}

func (c Config) validate() error {
	var faults []error
	for _, field := range []struct {
		name  string
		given bool
	}{
		{"Cloud", c.Cloud != nil}, {"Namespace", c.Namespace != ""}, {"Inventory", c.Inventory != nil}, {"Mirrors", c.Mirrors != nil},
		{"Translator", c.Translator != nil}, {"Policy", c.Policy != nil}, {"NodeDNS", c.NodeDNS != nil}, {"Pods", c.Pods != nil},
		{"Client", c.Client != nil}, {"Recorder", c.Recorder != nil}, {"Now", c.Now != nil}, {"Logger", c.Logger != nil},
	} {
		if !field.given {
			faults = append(faults, fmt.Errorf("%s: must be given", field.name))
		}
	}
	if c.Workers <= 0 || c.MinRetryInterval <= 0 || c.MaxRetryInterval < c.MinRetryInterval || c.RefusalRetry <= 0 || c.Recheck <= 0 {
		faults = append(faults, fmt.Errorf("workers %d, retry %s to %s, refusal retry %s and recheck %s: "+
			"must be above zero, the longest retry no shorter than the first",
			c.Workers, c.MinRetryInterval, c.MaxRetryInterval, c.RefusalRetry, c.Recheck))
	}
	return errors.Join(faults...)
}

// Run works until ctx ends. It blocks, and returns when no call is under way any more. Nothing is done before the cluster's and the
// cloud's Pods are both known and virtual-kubelet has called NotifyPods.
func (p *Provider) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		<-ctx.Done()
		p.queue.ShutDown()
		return nil
	})
	if p.waitReady(ctx) {
		for range p.config.Workers {
			group.Go(func() error {
				for p.work(ctx) {
				}
				return nil
			})
		}
	}
	return group.Wait()
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

// work takes one Pod from the queue; false when the queue has ended.
func (p *Provider) work(ctx context.Context) bool {
	key, shutdown := p.queue.Get()
	if shutdown {
		return false
	}
	defer p.queue.Done(key)
	again, err := p.reconcile(ctx, key)
	switch {
	case ctx.Err() != nil: // Whoever starts next sees the rest.
	case errors.Is(err, errNotYet):
		p.queue.AddAfter(key, again)
	case err != nil:
		p.config.Logger.Warn("a pod will be tried again", "pod", key.Namespace+"/"+key.Name, "uid", key.UID,
			"tries", p.failures.NumRequeues(key)+1, "err", err)
		delay := max(p.failures.When(key), cci.RetryAfter(err))
		p.noteRetry(key, delay)
		p.queue.AddAfter(key, delay)
	default:
		p.failures.Forget(key)
		if again > 0 {
			p.queue.AddAfter(key, again)
		}
	}
	return true
}

// cloudChanged hears of every change in the cloud.
func (p *Provider) cloudChanged(key identity.Key, pod *cci.Pod, state inventory.State) {
	p.mu.Lock()
	switch m := p.memories[key]; {
	case state == inventory.Gone:
		p.rememberLocked(key).last = pod
		p.rememberLocked(key).gone = true
	case state == inventory.Missing:
		p.rememberLocked(key).last = pod
	case m != nil:
		m.gone = false
	}
	p.mu.Unlock()
	p.queue.Add(key)
}

func (p *Provider) now() metav1.Time { return metav1.NewTime(p.config.Now()) }
