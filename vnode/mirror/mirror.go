package mirror

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/internal/worker"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// workers is the number of copies that are reconciled at the same time.
const workers = 8

// Config configures Mirrors. All fields are required unless their comment says otherwise.
type Config struct {
	// API and Namespace are where the copies are kept. Owner is the node that they belong to.
	API       cci.API
	Namespace string
	Owner     identity.Owner
	// Translator finds the objects that a Pod refers to.
	Translator *translate.Translator
	// Sources reads the objects of the cluster, one by one, and requests tokens.
	Sources corev1client.CoreV1Interface
	// Pods holds the Pods of this node only. It must not have been started yet.
	Pods cache.SharedIndexInformer
	// Inventory is the copy of the cloud Pods. The caller runs it.
	Inventory Inventory
	// Kubeconfig returns the kubeconfig with which the sidecar of a Pod reads Services. It must not block. nil returns
	// none, so that Pods that need one wait.
	Kubeconfig func(*corev1.Pod) ([]byte, error)
	// Claims enables copies of claims. VolumeKinds are the kinds of volume that the cloud can mount. Both are optional.
	Claims      bool
	VolumeKinds []string
	// Limits bound the copies.
	Limits Limits
	// Refresh is how often a copy is compared with its source. A shorter interval follows changes sooner and costs more
	// requests: one to the API server for each copy.
	Refresh time.Duration
	// RemoveAfter is how long a copy must be unused before it is removed. A longer time saves requests while Pods come
	// and go.
	RemoveAfter time.Duration
	// Relist is how often the copies in the cloud are listed, to find changes by others.
	Relist time.Duration
	// MinRetryInterval and MaxRetryInterval bound the time between two attempts after an error; it doubles from one to
	// the other.
	MinRetryInterval, MaxRetryInterval time.Duration
	// Now is the clock.
	Now func() time.Time
	// Registerer registers the metrics of this package; nil registers nothing.
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

// Inventory knows the cloud Pods. Its methods must not block.
type Inventory interface {
	// Get returns the cloud Pod of a Pod, nil if none is known.
	Get(key identity.Key) *cci.Pod
	// Refers reports whether a known cloud Pod refers to the object.
	Refers(object cci.Object) bool
	// Synced is closed when the cloud Pods are known.
	Synced() <-chan struct{}
}

// Mirrors keeps the copies.
type Mirrors struct {
	config Config
	pods   corelisters.PodLister
	loop   *worker.Loop[identity.Mirror]
	synced chan struct{}
	writes *prometheus.CounterVec
	// noVolumes: the region does not offer volumes. Only follow uses it.
	noVolumes bool

	mu      sync.Mutex
	entries map[identity.Mirror]*entry
	// used is what the entries of each namespace use.
	used map[string]used
}

// referenceIndex finds the Pods of the node that refer to an object.
const referenceIndex = "spillway.io/references"

// New checks the configuration and returns Mirrors. It starts nothing but a timer, which Close ends. It must be called
// before the informer runs.
func New(config Config) (*Mirrors, error) {
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("creating the mirrors: %w", err)
	}
	m := &Mirrors{
		config:  config,
		pods:    corelisters.NewPodLister(config.Pods.GetIndexer()),
		synced:  make(chan struct{}),
		writes:  newWrites(config.Registerer),
		entries: map[identity.Mirror]*entry{},
		used:    map[string]used{},
	}
	var err error
	m.loop, err = worker.New(worker.Config[identity.Mirror]{
		Name: "mirrors", Workers: workers, Namespace: func(mirror identity.Mirror) string { return mirror.Namespace },
		Reconcile: m.reconcile, RetryAfter: cci.RetryAfter, Failed: m.failed,
		MinRetryInterval: config.MinRetryInterval, MaxRetryInterval: config.MaxRetryInterval,
	})
	if err != nil {
		return nil, fmt.Errorf("creating the mirrors: %w", err)
	}
	if err := config.Pods.AddIndexers(cache.Indexers{referenceIndex: m.index}); err != nil {
		return nil, fmt.Errorf("indexing the pods of the node: %w", err)
	}
	if _, err := config.Pods.AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: m.podDeleted}); err != nil {
		return nil, fmt.Errorf("watching the pods of the node: %w", err)
	}
	m.registerCount(config.Registerer)
	return m, nil
}

func (c Config) validate() error {
	var errs []error
	for _, field := range []struct {
		name  string
		given bool
	}{
		{"API", c.API != nil}, {"Namespace", c.Namespace != ""}, {"Translator", c.Translator != nil},
		{"Sources", c.Sources != nil},
		{"Pods", c.Pods != nil}, {"Inventory", c.Inventory != nil}, {"Now", c.Now != nil}, {"Logger", c.Logger != nil},
	} {
		if !field.given {
			errs = append(errs, fmt.Errorf("%s: must be given", field.name))
		}
	}
	if c.Refresh <= 0 || c.RemoveAfter <= 0 || c.Relist <= 0 ||
		c.MinRetryInterval <= 0 || c.MaxRetryInterval < c.MinRetryInterval {
		errs = append(errs, fmt.Errorf("refresh %s, removal after %s, relist %s and retry intervals %s to %s: "+
			"must be above zero, the maximum no shorter than the minimum",
			c.Refresh, c.RemoveAfter, c.Relist, c.MinRetryInterval, c.MaxRetryInterval))
	}
	if !c.Limits.valid() {
		errs = append(errs, fmt.Errorf("limits %+v: must be above zero", c.Limits))
	}
	return errors.Join(errs...)
}

// Close releases what New has created. It may be called again. It does not block.
func (m *Mirrors) Close() { m.loop.Close() }

// Run lists and reconciles copies until ctx ends. It blocks, and returns nil when no request is in progress. It
// removes nothing before both the Pods of the cluster and the cloud Pods are known.
func (m *Mirrors) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		m.follow(ctx)
		return nil
	})
	if m.waitReady(ctx) {
		group.Go(func() error { return m.loop.Run(ctx) })
	}
	return group.Wait()
}

func (m *Mirrors) waitReady(ctx context.Context) bool {
	if !cache.WaitForCacheSync(ctx.Done(), m.config.Pods.HasSynced) {
		return false
	}
	for _, ready := range []<-chan struct{}{m.config.Inventory.Synced(), m.synced} {
		select {
		case <-ctx.Done():
			return false
		case <-ready:
		}
	}
	return true
}

// Synced is closed when the copies in the cloud are known. Ensure may be called before.
func (m *Mirrors) Synced() <-chan struct{} { return m.synced }

// index returns the names of the objects that a Pod of the node refers to.
func (m *Mirrors) index(obj any) ([]string, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, nil
	}
	references, err := m.references(pod)
	if err != nil {
		return nil, nil // It gets no cloud Pod.
	}
	var names []string
	for _, ref := range references {
		names = append(names, ref.String())
	}
	return names, nil
}

// podDeleted queues the copies that may be unused now.
func (m *Mirrors) podDeleted(obj any) {
	if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = unknown.Obj
	}
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	references, err := m.references(pod)
	if err != nil {
		return
	}
	for _, ref := range references {
		m.loop.Add(ref.Mirror)
	}
}

// isNeeded reports whether a Pod of the node or a cloud Pod refers to the copy. A Pod that has ended no longer needs
// its tokens.
func (m *Mirrors) isNeeded(mirror identity.Mirror) bool {
	object := cci.Object{Kind: objectKind(mirror), Name: m.config.Owner.MirrorName(mirror)}
	if mirror.Short && !m.config.Inventory.Refers(object) {
		return false // New cloud Pods refer to copies with long names only.
	}
	if mirror.Kind == identity.MirrorToken {
		key := identity.Key{Namespace: mirror.Namespace, Name: mirror.Name, UID: mirror.UID}
		cloud := m.config.Inventory.Get(key)
		return (cloud != nil && !translate.IsTerminal(cloud.Status.Phase)) || m.pod(mirror) != nil
	}
	users, err := m.config.Pods.GetIndexer().ByIndex(referenceIndex, mirror.String())
	if err != nil || len(users) > 0 {
		return true // The only possible error is that of an unknown index.
	}
	return m.config.Inventory.Refers(object)
}

// pod returns the Pod of a MirrorToken, nil if the Pod has ended or is gone.
func (m *Mirrors) pod(mirror identity.Mirror) *corev1.Pod {
	pod, err := m.pods.Pods(mirror.Namespace).Get(mirror.Name)
	if err != nil || pod.UID != mirror.UID || translate.IsTerminal(pod.Status.Phase) {
		return nil
	}
	return pod
}

// jittered returns a duration that differs by up to a fifth, so that copies that are created together are not
// refreshed together.
func jittered(d time.Duration) time.Duration {
	return d - d/5 + rand.N(2*d/5+1)
}
