package ccisim

import (
	"encoding/json"
	"fmt"
	"sort"
	"strconv"

	"k8s.io/apimachinery/pkg/watch"
)

// key names an object inside its table.
type key struct{ namespace, name string }

func keyOf(obj object) key { return key{obj.GetNamespace(), obj.GetName()} }

// entry is a stored object and its encoding, made once for all readers.
type entry struct {
	obj object
	raw []byte
}

// change is one step in a table's history.
type change struct {
	version uint64
	kind    watch.EventType
	key     key
	// labels are the object's after the change, before are those it had, nil when it did not exist: a selector needs both.
	labels, before map[string]string
	raw            []byte
}

// table holds the objects of one resource and what happened to them lately.
// Invariant: history is in version order, and holds every change after compacted.
type table struct {
	res   *resource
	items map[key]*entry
	// perNamespace counts the items.
	perNamespace map[string]int
	history      []change
	compacted    uint64
	// changed is closed, and replaced, at every change.
	changed chan struct{}
}

func newTable(res *resource) *table {
	return &table{res: res, items: map[key]*entry{}, perNamespace: map[string]int{}, changed: make(chan struct{})}
}

// store is all tables under one resourceVersion. It has no lock of its own: Sim.mu guards it.
type store struct {
	version      uint64
	historyLimit int
	tables       map[*resource]*table
	// record, when set, is told of every change once it is made.
	record func(res *resource, kind watch.EventType, e *entry)
}

func newStore(historyLimit int) *store {
	st := &store{historyLimit: historyLimit, tables: map[*resource]*table{}}
	for _, res := range allResources {
		st.tables[res] = newTable(res)
	}
	return st
}

// get returns the stored object, which the caller must not change, or nil.
func (st *store) get(res *resource, k key) object {
	if e, ok := st.tables[res].items[k]; ok {
		return e.obj
	}
	return nil
}

// put stores obj, which the store then owns, under a new resourceVersion.
func (st *store) put(res *resource, obj object) (*entry, error) {
	t := st.tables[res]
	k := keyOf(obj)
	kind, before := watch.Added, map[string]string(nil)
	if old, ok := t.items[k]; ok {
		kind, before = watch.Modified, nonNil(old.obj.GetLabels())
	}
	e, err := st.encode(obj)
	if err != nil {
		return nil, err
	}
	t.set(k, e)
	st.remember(t, kind, k, before, e)
	return e, nil
}

// remove takes the object out. The change carries its last state under the resourceVersion of the removal.
func (st *store) remove(res *resource, obj object) error {
	t := st.tables[res]
	k := keyOf(obj)
	if _, ok := t.items[k]; !ok {
		return nil
	}
	e, err := st.encode(obj)
	if err != nil {
		return err
	}
	t.unset(k)
	st.remember(t, watch.Deleted, k, nonNil(obj.GetLabels()), e)
	return nil
}

func (st *store) encode(obj object) (*entry, error) {
	obj.SetResourceVersion(strconv.FormatUint(st.version+1, 10))
	raw, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("encoding %s/%s: %w", obj.GetNamespace(), obj.GetName(), err)
	}
	st.version++
	return &entry{obj: obj, raw: raw}, nil
}

func (st *store) remember(t *table, kind watch.EventType, k key, before map[string]string, e *entry) {
	t.history = append(t.history, change{
		version: st.version, kind: kind, key: k, labels: nonNil(e.obj.GetLabels()), before: before, raw: e.raw,
	})
	// Half is dropped at a time, so that appending stays cheap.
	if len(t.history) > st.historyLimit {
		t.compact(len(t.history) - st.historyLimit/2)
	}
	close(t.changed)
	t.changed = make(chan struct{})
	if st.record != nil {
		st.record(t.res, kind, e)
	}
}

func (t *table) set(k key, e *entry) {
	if t.items[k] == nil {
		t.perNamespace[k.namespace]++
	}
	t.items[k] = e
}

func (t *table) unset(k key) {
	if t.items[k] == nil {
		return
	}
	delete(t.items, k)
	if t.perNamespace[k.namespace]--; t.perNamespace[k.namespace] == 0 {
		delete(t.perNamespace, k.namespace)
	}
}

// compact forgets the n oldest changes.
func (t *table) compact(n int) {
	if n <= 0 {
		return
	}
	t.compacted = t.history[n-1].version
	t.history = append([]change(nil), t.history[n:]...)
}

// since returns the changes after version, and false when some of them are forgotten.
func (t *table) since(version uint64) ([]change, bool) {
	if version < t.compacted {
		return nil, false
	}
	i := sort.Search(len(t.history), func(i int) bool { return t.history[i].version > version })
	return t.history[i:], true
}

// sorted returns the entries of a namespace, or all of them for an empty one, in the order of lists.
func (t *table) sorted(namespace string) []*entry {
	keys := make([]key, 0, len(t.items))
	for k := range t.items {
		if namespace == "" || k.namespace == namespace {
			keys = append(keys, k)
		}
	}
	sort.Slice(keys, func(i, j int) bool {
		if keys[i].namespace != keys[j].namespace {
			return keys[i].namespace < keys[j].namespace
		}
		return keys[i].name < keys[j].name
	})
	out := make([]*entry, len(keys))
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
