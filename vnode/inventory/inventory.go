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
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
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
	// WatchTimeout is how long one watch lasts. A shorter timeout detects dead connections sooner and costs more
	// requests.
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
	pods *copies
	err  error
}

// New checks the configuration and returns an Inventory. It starts nothing.
func New(config Config) (*Inventory, error) {
	if config.API == nil || config.Namespace == "" || config.Now == nil || config.Logger == nil {
		return nil, errors.New("creating the inventory: API, namespace, clock and logger must be given")
	}
	if config.WatchTimeout <= 0 || config.MinRetryInterval <= 0 || config.RelistInterval <= 0 {
		return nil, fmt.Errorf(
			"creating the inventory: watch timeout %s, relist interval %s and minimum retry interval %s must be "+
				"above zero",
			config.WatchTimeout, config.RelistInterval, config.MinRetryInterval)
	}
	return &Inventory{
		config: config, synced: make(chan struct{}), lists: newLists(config.Registerer),
		pods: newCopies(),
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
	return i.pods.get(key)
}

// All returns every known cloud Pod by the key of its Pod. The Pods must not be changed.
func (i *Inventory) All() map[identity.Key]*cci.Pod {
	i.mu.RLock()
	defer i.mu.RUnlock()
	all := make(map[identity.Key]*cci.Pod, len(i.pods.byKey))
	for key, c := range i.pods.byKey {
		all[key] = c.pod
	}
	return all
}

// UsedBesides returns what the Pods of a namespace use together, without the Pod of the key: those whose cloud Pods
// are known and have not ended, and those of pending whose cloud Pods are not known.
func (i *Inventory) UsedBesides(key identity.Key, pending map[identity.Key]policy.CloudUse) policy.CloudUse {
	i.mu.RLock()
	defer i.mu.RUnlock()
	used := i.pods.used[key.Namespace].Minus(i.pods.byKey[key].use)
	for other, use := range pending {
		if _, known := i.pods.byKey[other]; !known && other != key {
			used = used.Plus(use)
		}
	}
	return used
}

// Refers reports whether a known cloud Pod refers to an object.
func (i *Inventory) Refers(object cci.Object) bool {
	i.mu.RLock()
	defer i.mu.RUnlock()
	for _, c := range i.pods.byKey {
		if slices.Contains(c.refers, object) {
			return true
		}
	}
	return false
}

// isOlder reports whether what is said about a Pod is older than what is known: a Pod that has ended has ended for
// good. A Pod that was read alone can be newer than the next events of a watch. If such an event made it active again,
// its cloud Pod would be deleted, and the log with it.
func isOlder(said, known *cci.Pod) bool {
	return known != nil && known.UID == said.UID &&
		translate.IsTerminal(known.Status.Phase) && !translate.IsTerminal(said.Status.Phase)
}

// Put adds a Pod that a create or a get request has returned, before the watch delivers it. A known Pod with the same
// UID stays unless this one has ended: it is as new, or newer.
func (i *Inventory) Put(pod *cci.Pod) {
	key, ok := i.config.Owner.Owns(pod)
	if !ok {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if known := i.pods.get(key); known == nil || known.UID != pod.UID || isOlder(known, pod) {
		i.pods.set(key, newCopy(pod))
	}
}

// Drop removes a cloud Pod that the cloud has reported as gone. A Pod with another UID stays.
func (i *Inventory) Drop(key identity.Key, gone *cci.Pod) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if known := i.pods.get(key); known != nil && known.UID == gone.UID {
		i.pods.remove(key)
	}
}

// replace takes a complete list as the truth.
func (i *Inventory) replace(fresh *copies) {
	// The changes are collected under the lock: after it, others change the map.
	var changed, missing []change
	i.mu.Lock()
	var older []identity.Key
	for key, c := range fresh.byKey {
		switch known := i.pods.get(key); {
		case isOlder(c.pod, known):
			older = append(older, key)
		case known == nil || known.UID != c.pod.UID || known.ResourceVersion != c.pod.ResourceVersion:
			changed = append(changed, change{key, c.pod})
		}
	}
	for _, key := range older {
		fresh.set(key, i.pods.byKey[key])
	}
	for key, c := range i.pods.byKey {
		if fresh.get(key) == nil {
			missing = append(missing, change{key, c.pod})
		}
	}
	i.pods = fresh
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

// apply takes one change from the watch. It may repeat an earlier one. It returns an error if the Pods are too large.
func (i *Inventory) apply(pod *cci.Pod, state State) error {
	key, ok := i.config.Owner.Owns(pod)
	if !ok {
		return nil
	}
	c := newCopy(pod)
	i.mu.Lock()
	switch known := i.pods.get(key); {
	case state == Present && isOlder(pod, known):
		i.mu.Unlock()
		return nil
	case state == Present:
		i.pods.set(key, c)
	case known != nil && known.UID == pod.UID:
		i.pods.remove(key)
	}
	err := i.pods.check()
	if err != nil {
		i.pods.remove(key)
	}
	i.mu.Unlock()
	if err != nil {
		return err
	}
	i.notify(key, c.pod, state)
	return nil
}

func (i *Inventory) setErr(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.err = err
}
