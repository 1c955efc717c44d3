package services

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

const (
	// maxEvents and maxEventBytes bound the events that a cache keeps. A client whose stream was cut, or that reads
	// slowly, goes on from there, and gets everything again if it is further behind.
	maxEvents     = 16 << 10
	maxEventBytes = 32 << 20
	// versionWait is how long a request waits for a version that the cache has not reached, as in API servers. Source:
	// Kubernetes v1.37, apiserver/pkg/storage/cacher (blockTimeout).
	versionWait = 3 * time.Second
)

// event is a change of one object: it was old and is now object. An object that was created has no old one, one that
// was deleted has nothing else. A bookmark has neither.
type event struct {
	old, object *object
	// version is the resource version that clients get with it.
	version uint64
	// Clients that have seen no more than since miss it, those that have seen upTo do not. What those have seen that are
	// in between is not known.
	since, upTo uint64
	// frame is what clients that see both get, compressed at the first use.
	frame *sharedFrame
}

// resources holds the objects of one kind, and their latest events in order. It is the store of a Reflector.
//
// Every stream reads the same events at its own position, so that a slow reader costs no memory and delays no other.
type resources struct {
	kind kind

	mu      sync.RWMutex
	objects map[string]*object
	// list has the objects in the order of their keys, nil after a change.
	list []*object
	// version is the version of the cluster up to which the objects and events are complete. It is 0 before the first
	// list.
	version uint64
	// events are those from position first on. bytes is the size of their objects.
	events []event
	first  position
	bytes  int
	// floor is the lowest version from which a client can go on: all events after it are there.
	floor uint64
	// changed is closed at the next change of anything above.
	changed chan struct{}
}

// position is the number of an event, counted from the start of the program.
type position uint64

var (
	_ cache.ReflectorStore         = (*resources)(nil)
	_ cache.ReflectorBookmarkStore = (*resources)(nil)
)

func newResources(kind kind) *resources {
	return &resources{kind: kind, objects: map[string]*object{}, changed: make(chan struct{})}
}

// Add implements cache.ReflectorStore.
func (r *resources) Add(item any) error {
	object, err := encode(item)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(object, r.eventAt(object.version))
	r.advance(object.version)
	return nil
}

// Update implements cache.ReflectorStore.
func (r *resources) Update(item any) error { return r.Add(item) }

// Delete implements cache.ReflectorStore.
func (r *resources) Delete(item any) error {
	object, err := encode(item)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(object.key(), r.eventAt(object.version))
	r.advance(object.version)
	return nil
}

// eventAt returns an event of a version. Nothing has happened just before it.
func (r *resources) eventAt(version uint64) event {
	version = max(version, r.version)
	return event{version: version, since: version - 1, upTo: version}
}

// Bookmark implements cache.ReflectorBookmarkStore. Nothing else has changed up to this version.
func (r *resources) Bookmark(resourceVersion string) error {
	version, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return fmt.Errorf("reading a bookmark of %s objects: version %q is no number: %w", r.kind.name, resourceVersion, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if version > r.version {
		r.append(r.eventAt(version))
		r.advance(version)
	}
	return nil
}

// Resync implements cache.ReflectorStore. It does nothing.
func (r *resources) Resync() error { return nil }

// Replace implements cache.ReflectorStore. The Reflector calls it with a list of all objects, at the start and after a
// watch that has failed. Then the difference becomes events, so that the streams go on.
func (r *resources) Replace(items []any, resourceVersion string) error {
	version, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return fmt.Errorf("reading a list of %s objects: version %q is no number: %w", r.kind.name, resourceVersion, err)
	}
	all := make(map[string]*object, len(items))
	for _, item := range items {
		object, err := encode(item)
		if err != nil {
			return err
		}
		all[object.key()] = object
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.version == 0:
		r.objects, r.list, r.floor = all, nil, version
	case version < r.version:
		// The cluster was restored from a backup: what clients have seen may have happened otherwise.
		r.objects, r.list, r.version = all, nil, version
		r.forget()
	default:
		r.merge(all, version)
	}
	r.advance(version)
	return nil
}

// partial is added to the versions of the events of a merge but the last. A client that was cut off after one of them
// has only a part of the merge: what else has happened up to that version is not known. It gets everything again, from
// every server. No cluster has so high a version.
const partial = 1 << 62

// merge turns the difference to a list of a version into events.
func (r *resources) merge(all map[string]*object, version uint64) {
	last := r.version
	for key := range r.objects {
		if all[key] == nil {
			r.remove(key, event{version: partial + version, since: last, upTo: version})
		}
	}
	for _, object := range all {
		r.put(object, event{version: partial + object.version, since: last, upTo: version})
	}
	r.append(event{version: version, since: last, upTo: version})
}

// put stores an object.
func (r *resources) put(object *object, e event) {
	e.object, e.old = object, r.objects[object.key()]
	if e.old != nil && e.old.version == object.version {
		return
	}
	r.objects[object.key()], r.list = object, nil
	r.append(e)
}

// remove deletes an object.
func (r *resources) remove(key string, e event) {
	if e.old = r.objects[key]; e.old == nil {
		return
	}
	delete(r.objects, key)
	r.list = nil
	r.append(e)
}

// append adds an event, and drops the oldest ones beyond the limits.
func (r *resources) append(e event) {
	e.frame = &sharedFrame{}
	r.events = append(r.events, e)
	r.bytes += e.size()
	for len(r.events) > maxEvents || (r.bytes > maxEventBytes && len(r.events) > 1) {
		r.bytes -= r.events[0].size()
		r.floor = max(r.floor, r.events[0].upTo)
		r.events[0] = event{}
		r.events = r.events[1:]
		r.first++
	}
}

// kind returns the type of the event for a client that sees the object before and after it.
func (e event) kind() watch.EventType {
	switch {
	case e.old == nil:
		return watch.Added
	case e.object == nil:
		return watch.Deleted
	}
	return watch.Modified
}

// size returns how many bytes an event keeps in memory that would be free without it. The old object of a change is the
// new one of an event before it, but only an event keeps one that was deleted.
func (e event) size() int {
	switch {
	case e.object != nil:
		return len(e.object.json)
	case e.old != nil:
		return len(e.old.json)
	}
	return 0
}

// forget drops all events. All positions before it are lost.
func (r *resources) forget() {
	r.first += position(len(r.events)) + 1
	r.events, r.bytes, r.floor = nil, 0, r.version
}

// advance notes the version up to which everything is known, and notifies the streams.
func (r *resources) advance(version uint64) {
	r.version = max(r.version, version)
	close(r.changed)
	r.changed = make(chan struct{})
}

// synced reports whether the objects are known.
func (r *resources) synced() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.version > 0
}

// count returns the number of objects.
func (r *resources) count() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.objects)
}

// head returns the version up to which everything is known, and the position of the next event.
func (r *resources) head() (uint64, position) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.version, r.first + position(len(r.events))
}

// snapshot returns the objects in the order of their keys, their version, and the position of the next event. The
// caller must not change the slice.
func (r *resources) snapshot() ([]*object, uint64, position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.list == nil {
		r.list = make([]*object, 0, len(r.objects))
		for _, object := range r.objects {
			r.list = append(r.list, object)
		}
		slices.SortFunc(r.list, func(a, b *object) int {
			return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
		})
	}
	return r.list, r.version, r.first + position(len(r.events))
}

// after returns the position of the first event that a client that has seen a version may not have seen. It returns
// false if the client has to get everything again.
func (r *resources) after(version uint64) (position, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if version < r.floor || version >= partial {
		return 0, false
	}
	i, _ := slices.BinarySearchFunc(r.events, version, func(e event, version uint64) int {
		if e.upTo <= version {
			return -1
		}
		return 1
	})
	return r.first + position(i), i == len(r.events) || version <= r.events[i].since
}

// read copies the events from a position on to into, as many as fit. It returns how many, and how many more there are.
// If there is none, changed is closed when there is one. It returns false if events at the position are lost.
func (r *resources) read(at position, into []event) (n, more int, changed <-chan struct{}, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if at < r.first {
		return 0, 0, nil, false
	}
	rest := r.events[at-r.first:]
	n = copy(into, rest)
	return n, len(rest) - n, r.changed, true
}

// wait waits until everything up to a version is known, for a moment. It returns the version that is known, and whether
// it is enough.
func (r *resources) wait(ctx context.Context, version uint64) (uint64, bool) {
	ctx, cancel := context.WithTimeout(ctx, versionWait)
	defer cancel()
	for {
		r.mu.RLock()
		known, changed := r.version, r.changed
		r.mu.RUnlock()
		if known >= version {
			return known, true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return known, false
		}
	}
}
