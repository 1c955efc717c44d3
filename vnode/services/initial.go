package services

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/lru"
)

const (
	// maxInitials is how many views of a resource have their compressed objects kept: that of all Pods, or those of the
	// namespaces whose Pods came last.
	maxInitials = 32
	// initialAge and initialEvents are how old compressed objects may be if something has changed since. The events
	// follow them.
	initialAge    = 10 * time.Second
	initialEvents = 1000
	// chunkSize is how much text is compressed, or written, at once.
	chunkSize = 128 << 10
)

// initials holds the compressed objects of the views of a resource, so that those of thousands of Pods are compressed
// once: after a restart of the server, all of its clients come back at the same time.
type initials struct {
	resources *resources
	now       func() time.Time
	// views has a *initial for each key of a view.
	views *lru.Cache
}

func newInitials(r *resources, now func() time.Time) *initials {
	return &initials{r, now, lru.New(maxInitials)}
}

// initial is what a stream of a view begins with.
type initial struct {
	mu    sync.Mutex
	built time.Time
	// next is the position of the events that follow.
	next   position
	chunks [][]byte
	events int
}

// get returns the initial events of a view, how many they are, and the position of the events that follow them.
func (i *initials) get(v view) (chunks [][]byte, events int, next position) {
	key := v.key()
	found, ok := i.views.Get(key)
	if !ok {
		found = &initial{}
		i.views.Add(key, found)
	}
	initial := found.(*initial)
	initial.mu.Lock()
	defer initial.mu.Unlock()
	if !i.isRecent(initial) {
		initial.built = i.now()
		initial.chunks, initial.events, initial.next = i.build(v)
	}
	return initial.chunks, initial.events, initial.next
}

// isRecent reports whether an initial can be used, with the events after it.
func (i *initials) isRecent(initial *initial) bool {
	if initial.built.IsZero() {
		return false
	}
	_, more, _, ok := i.resources.read(initial.next, nil)
	return ok && (more == 0 || more <= initialEvents && i.now().Sub(initial.built) < initialAge)
}

func (i *initials) build(v view) (chunks [][]byte, events int, next position) {
	objects, _, next := i.resources.snapshot()
	// There is no error: a chunk is always taken.
	events, _ = inChunks(objects, v, func(to []byte, o *object) []byte {
		return appendEvent(to, watch.Added, o, o.version)
	}, func(chunk []byte) error {
		chunks = append(chunks, compress(chunk))
		return nil
	})
	return chunks, events, next
}
