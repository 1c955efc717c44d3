package store

import (
	"encoding/json"
	"fmt"
	"sort"
	"strconv"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

// Entry is a stored object and its encoding, which is made once for all readers.
type Entry struct {
	Object objects.Object
	Raw    []byte
}

// Change is one step in the history of a resource.
type Change struct {
	Version uint64
	Kind    watch.EventType
	Key     types.NamespacedName
	// Labels are the labels after the change, Before those before it, nil when the object did not exist. A selector
	// needs both.
	Labels, Before map[string]string
	Raw            []byte
}

// table holds the objects of one resource and their recent changes.
// Invariant: history is in the order of versions, and holds every change after compacted.
type table struct {
	res   *objects.Resource
	items map[types.NamespacedName]*Entry
	// perNamespace counts the items.
	perNamespace map[string]int
	history      []Change
	compacted    uint64
	// changed is closed and replaced at every change.
	changed chan struct{}
}

func newTable(res *objects.Resource) *table {
	return &table{
		res: res, items: map[types.NamespacedName]*Entry{}, perNamespace: map[string]int{}, changed: make(chan struct{}),
	}
}

func (s *Store) encode(obj objects.Object) (*Entry, error) {
	obj.SetResourceVersion(strconv.FormatUint(s.version+1, 10))
	raw, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("encoding %s/%s: %w", obj.GetNamespace(), obj.GetName(), err)
	}
	s.version++
	return &Entry{Object: obj, Raw: raw}, nil
}

// remember adds a change to the history and to the state file, and notifies the watches.
func (s *Store) remember(t *table, kind watch.EventType, k types.NamespacedName, before map[string]string, e *Entry) {
	t.history = append(t.history, Change{
		Version: s.version, Kind: kind, Key: k, Labels: nonNil(e.Object.GetLabels()), Before: before, Raw: e.Raw,
	})
	// Half is dropped at a time, so that appending stays cheap.
	if len(t.history) > s.cfg.HistoryLimit {
		t.compact(len(t.history) - s.cfg.HistoryLimit/2)
	}
	close(t.changed)
	t.changed = make(chan struct{})
	s.recordChange(t.res, kind, e)
}

func (t *table) set(k types.NamespacedName, e *Entry) {
	if t.items[k] == nil {
		t.perNamespace[k.Namespace]++
	}
	t.items[k] = e
}

func (t *table) unset(k types.NamespacedName) {
	if t.items[k] == nil {
		return
	}
	delete(t.items, k)
	if t.perNamespace[k.Namespace]--; t.perNamespace[k.Namespace] == 0 {
		delete(t.perNamespace, k.Namespace)
	}
}

// compact drops the n oldest changes.
func (t *table) compact(n int) {
	if n <= 0 {
		return
	}
	t.compacted = t.history[n-1].Version
	t.history = append([]Change(nil), t.history[n:]...)
}

// since returns the changes after version, and false if some of them were dropped.
func (t *table) since(version uint64) ([]Change, bool) {
	if version < t.compacted {
		return nil, false
	}
	i := sort.Search(len(t.history), func(i int) bool { return t.history[i].Version > version })
	return t.history[i:], true
}

// sorted returns the entries of a namespace, or all of them if it is empty, by namespace and name.
func (t *table) sorted(namespace string) []*Entry {
	keys := make([]types.NamespacedName, 0, len(t.items))
	for k := range t.items {
		if namespace == "" || k.Namespace == namespace {
			keys = append(keys, k)
		}
	}
	sort.Slice(keys, func(i, j int) bool {
		if keys[i].Namespace != keys[j].Namespace {
			return keys[i].Namespace < keys[j].Namespace
		}
		return keys[i].Name < keys[j].Name
	})
	out := make([]*Entry, len(keys))
	for i, k := range keys {
		out[i] = t.items[k]
	}
	return out
}

func nonNil(labels map[string]string) map[string]string {
	if labels == nil {
		return map[string]string{}
	}
	return labels
}
