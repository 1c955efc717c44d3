package store

import (
	"fmt"
	"iter"
	"log/slog"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

// Config is what a store needs. All fields but StateFile are required.
type Config struct {
	// Generation decides the types of the objects. The store of CCI 2.0 also keeps in its state file what both
	// generations share: policies, faults and the history of Pods.
	Generation objects.Generation
	// StateFile keeps all objects over a restart, however the process ended. Empty keeps nothing.
	StateFile string
	// HistoryLimit is how many changes per resource a watch can look back.
	HistoryLimit int
	// Faults and Pods are shared by both generations.
	Faults *faults.Table
	Pods   *PodHistory
	Clock  clock.PassiveClock
	Logger *slog.Logger
}

// Store holds all objects of one generation under one resource version. Its methods may be called from any goroutine.
type Store struct {
	cfg Config

	mu      sync.RWMutex
	version uint64
	tables  map[*objects.Resource]*table
	lists   *savedLists
	cut     *cut
	// journal is nil without a state file, and after Close.
	journal *journal
}

// Open returns a store with the objects of the state file, if there is one.
func Open(cfg Config) (*Store, error) {
	s := &Store{cfg: cfg, tables: map[*objects.Resource]*table{}, lists: newSavedLists(), cut: newCut()}
	for _, res := range objects.All {
		s.tables[res] = newTable(res)
	}
	if cfg.StateFile == "" {
		return s, nil
	}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("loading state file %s: %w", cfg.StateFile, err)
	}
	s.journal = &journal{path: cfg.StateFile}
	if err := s.writeSnapshot(); err != nil {
		return nil, fmt.Errorf("writing state file %s: %w", cfg.StateFile, err)
	}
	return s, nil
}

// View calls f with the objects under a lock for reading.
func (s *Store) View(f func(View)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	f(View{s})
}

// Update calls f with the objects under the lock: nothing else reads or changes them until f returns.
func (s *Store) Update(f func(Tx)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(Tx{View{s}})
}

// View reads the store. It is valid until the function that received it returns.
type View struct{ s *Store }

// Tx changes the store. It is valid until the function that received it returns. Readers see all its changes at once.
type Tx struct{ View }

// Generation returns the generation of the API that the store belongs to.
func (v View) Generation() objects.Generation { return v.s.cfg.Generation }

// Version returns the resource version of the latest change.
func (v View) Version() uint64 { return v.s.version }

// Oldest returns the oldest resource version from which a watch of the resource can start.
func (v View) Oldest(res *objects.Resource) uint64 { return v.s.tables[res].compacted }

// Get returns the stored object, which the caller must not change, or nil.
func (v View) Get(res *objects.Resource, k types.NamespacedName) objects.Object {
	if e := v.Entry(res, k); e != nil {
		return e.Object
	}
	return nil
}

// Entry returns the stored object with its encoding, or nil.
func (v View) Entry(res *objects.Resource, k types.NamespacedName) *Entry {
	return v.s.tables[res].items[k]
}

// Pod returns the stored Pod, which the caller must not change, or nil.
func (v View) Pod(namespace, name string) *objects.Pod {
	pod, _ := v.Get(objects.Pods, types.NamespacedName{Namespace: namespace, Name: name}).(*objects.Pod)
	return pod
}

// NamespacePhase returns the phase of a namespace, empty if it does not exist.
func (v View) NamespacePhase(name string) corev1.NamespacePhase {
	if ns, ok := v.Get(objects.Namespaces, types.NamespacedName{Name: name}).(*objects.Namespace); ok {
		return ns.Status.Phase
	}
	return ""
}

// Count returns the number of objects of a resource in a namespace.
func (v View) Count(res *objects.Resource, namespace string) int {
	return v.s.tables[res].perNamespace[namespace]
}

// All iterates over the objects of a resource in all namespaces, in no order.
func (v View) All(res *objects.Resource) iter.Seq[objects.Object] {
	return func(yield func(objects.Object) bool) {
		for _, e := range v.s.tables[res].items {
			if !yield(e.Object) {
				return
			}
		}
	}
}

// Sorted returns the objects of a namespace, or of all namespaces if it is empty, by namespace and name.
func (v View) Sorted(res *objects.Resource, namespace string) []*Entry {
	return v.s.tables[res].sorted(namespace)
}

// Put stores obj, which the store then owns, under a new resource version.
func (tx Tx) Put(res *objects.Resource, obj objects.Object) (*Entry, error) {
	t, k := tx.s.tables[res], objects.KeyOf(obj)
	kind, before := watch.Added, map[string]string(nil)
	if old, ok := t.items[k]; ok {
		kind, before = watch.Modified, nonNil(old.Object.GetLabels())
	}
	e, err := tx.s.encode(obj)
	if err != nil {
		return nil, err
	}
	t.set(k, e)
	tx.s.remember(t, kind, k, before, e)
	return e, nil
}

// Remove removes the object. The change carries obj as the last state, under the resource version of the removal.
func (tx Tx) Remove(res *objects.Resource, obj objects.Object) error {
	t, k := tx.s.tables[res], objects.KeyOf(obj)
	if _, ok := t.items[k]; !ok {
		return nil
	}
	e, err := tx.s.encode(obj)
	if err != nil {
		return err
	}
	t.unset(k)
	tx.s.remember(t, watch.Deleted, k, nonNil(obj.GetLabels()), e)
	return nil
}

// Compact drops the history and the saved lists: every older resource version and continue token is then too old.
func (s *Store) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The version moves on, so that the version of the latest change is too old as well.
	s.version++
	for _, t := range s.tables {
		t.history, t.compacted = nil, s.version
	}
	s.lists.drop()
}
