// Package inventory keeps a copy of the cloud Pods of one virtual node: it lists them, watches from there on, and
// starts again after each interruption. It does not poll, changes nothing in the cloud, and does not read from the
// cluster.
//
// The copy may be out of date, and a list of the cloud may miss a Pod that was just created: before a caller acts on
// the absence of a Pod, it must read the Pod from the cloud.
package inventory

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// State describes what is known about the existence of a cloud Pod.
type State int

const (
	// Present: the Pod exists, or existed a moment ago.
	Present State = iota
	// Missing: a list did not contain the Pod. That is no proof of its absence: it may be too new.
	Missing
	// Gone: the cloud has reported the Pod as deleted.
	Gone
)

// Handler receives each change with the cloud Pod as it is now, or as it was last. It must not block and must not
// change the Pod. It may receive the same Pod twice.
type Handler func(key identity.Key, pod *cci.Pod, state State)

// Config configures an Inventory. All fields but Registerer are required.
type Config struct {
	// API and Namespace are where the cloud Pods run. Owner is the node that they belong to.
	API       cci.API
	Namespace string
	Owner     identity.Owner
	// WatchTimeout is how long one watch lasts. A shorter timeout detects dead connections sooner and costs more requests.
	WatchTimeout time.Duration
	// RelistInterval is how often all cloud Pods are listed while the watch works: a list finds what a watch may have
	// lost.
	RelistInterval time.Duration
	// MinRetryInterval is the time between the first two attempts after an error. It doubles up to 30 s, with jitter.
	MinRetryInterval time.Duration
	// Now is the clock.
	Now func() time.Time
	// Registerer registers the metrics of this package; nil registers nothing.
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

// Inventory is the copy. Pods in it are never changed: a change replaces them.
type Inventory struct {
	config Config
	synced chan struct{}
	lists  *prometheus.CounterVec
	// handlers is written only before Run.
	handlers []Handler

	mu   sync.RWMutex
	pods map[identity.Key]*cci.Pod
	// refers holds the objects that each Pod in pods refers to.
	refers map[identity.Key][]cci.Object
	err    error
}

// New checks the configuration and returns an Inventory. It starts nothing.
func New(config Config) (*Inventory, error) {
	if config.API == nil || config.Namespace == "" || config.Now == nil || config.Logger == nil {
		return nil, errors.New("creating the inventory: API, namespace, clock and logger must be given")
	}
	if config.WatchTimeout <= 0 || config.MinRetryInterval <= 0 || config.RelistInterval <= 0 {
		return nil, fmt.Errorf(
			"creating the inventory: watch timeout %s, relist interval %s and minimum retry interval %s must be above zero",
			config.WatchTimeout, config.RelistInterval, config.MinRetryInterval)
	}
	return &Inventory{
		config: config, synced: make(chan struct{}), lists: newLists(config.Registerer),
		pods: map[identity.Key]*cci.Pod{}, refers: map[identity.Key][]cci.Object{},
	}, nil
}

// OnChange adds a handler for changes. It must be called before Run.
func (i *Inventory) OnChange(handler Handler) { i.handlers = append(i.handlers, handler) }

func (i *Inventory) notify(key identity.Key, pod *cci.Pod, state State) {
	for _, handle := range i.handlers {
		handle(key, pod, state)
	}
}

// Synced is closed when the first list is complete.
func (i *Inventory) Synced() <-chan struct{} { return i.synced }

// Err returns the error that keeps the inventory from being up to date, nil if there is none.
func (i *Inventory) Err() error {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.err
}

// Get returns the cloud Pod of a Pod, nil if none is known. It must not be changed.
func (i *Inventory) Get(key identity.Key) *cci.Pod {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.pods[key]
}

// All returns every known cloud Pod by the key of its Pod. The Pods must not be changed.
func (i *Inventory) All() map[identity.Key]*cci.Pod {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return maps.Clone(i.pods)
}

// Refers reports whether a known cloud Pod refers to an object.
func (i *Inventory) Refers(object cci.Object) bool {
	i.mu.RLock()
	defer i.mu.RUnlock()
	for _, objects := range i.refers {
		if slices.Contains(objects, object) {
			return true
		}
	}
	return false
}

// Put adds a Pod that a create or a get request has returned, before the watch delivers it. A known Pod with the same
// UID stays: it is as new, or newer.
func (i *Inventory) Put(pod *cci.Pod) {
	key, ok := i.config.Owner.Owns(pod)
	if !ok {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if known := i.pods[key]; known == nil || known.UID != pod.UID {
		i.pods[key], i.refers[key] = slim(pod), pod.Spec.Objects()
	}
}

// Drop removes a cloud Pod that the cloud has reported as gone. A Pod with another UID stays.
func (i *Inventory) Drop(key identity.Key, gone *cci.Pod) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if known := i.pods[key]; known != nil && known.UID == gone.UID {
		i.remove(key)
	}
}

// remove takes a Pod out. The caller must hold mu.
func (i *Inventory) remove(key identity.Key) {
	delete(i.pods, key)
	delete(i.refers, key)
}

// slim returns a copy with only those fields that callers need: the inventory holds thousands of Pods.
func slim(pod *cci.Pod) *cci.Pod {
	kept := *pod
	kept.Spec = cci.PodSpec{}
	kept.Labels, kept.ManagedFields, kept.OwnerReferences = nil, nil, nil
	return &kept
}

// replace takes a complete list as the truth.
func (i *Inventory) replace(list []cci.Pod) {
	fresh := make(map[identity.Key]*cci.Pod, len(list))
	refers := make(map[identity.Key][]cci.Object, len(list))
	for n := range list {
		if key, ok := i.config.Owner.Owns(&list[n]); ok {
			fresh[key], refers[key] = slim(&list[n]), list[n].Spec.Objects()
		}
	}
	// The changes are collected under the lock: after it, others change the map.
	var changed, missing []change
	i.mu.Lock()
	for key, pod := range fresh {
		if known := i.pods[key]; known == nil || known.UID != pod.UID || known.ResourceVersion != pod.ResourceVersion {
			changed = append(changed, change{key, pod})
		}
	}
	for key, pod := range i.pods {
		if fresh[key] == nil {
			missing = append(missing, change{key, pod})
		}
	}
	i.pods, i.refers = fresh, refers
	i.mu.Unlock()
	for _, c := range changed {
		i.notify(c.key, c.pod, Present)
	}
	for _, c := range missing {
		i.notify(c.key, c.pod, Missing)
	}
}

// change is a Pod that handlers are to be notified of.
type change struct {
	key identity.Key
	pod *cci.Pod
}

// apply takes one change from the watch. It may repeat an earlier one.
func (i *Inventory) apply(pod *cci.Pod, state State) {
	key, ok := i.config.Owner.Owns(pod)
	if !ok {
		return
	}
	objects := pod.Spec.Objects()
	pod = slim(pod)
	i.mu.Lock()
	switch known := i.pods[key]; {
	case state == Present:
		i.pods[key], i.refers[key] = pod, objects
	case known != nil && known.UID == pod.UID:
		i.remove(key)
	}
	i.mu.Unlock()
	i.notify(key, pod, state)
}

func (i *Inventory) setErr(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.err = err
}
