package worker

import (
	"sync"

	"k8s.io/client-go/util/workqueue"

	"github.com/spillway-k8s/spillway/internal/fairness"
)

// reserve decides how many workers one namespace may keep busy: up to reserve times as many as are left for the
// others. Of 50 workers a namespace alone takes 40, of 8 it takes 7, and the key of another one finds a worker at once.
// Less leaves more workers idle, more leaves fewer for those who come next.
const reserve = 4

// queue holds keys until workers take them. It does what the queue of client-go does: a key is in it once, and is
// taken by one worker at a time. In addition namespaces take turns, and a namespace whose keys block their workers does
// not get all workers.
type queue[K comparable] struct {
	namespace func(K) string
	workers   int

	mu sync.Mutex
	// changed signals one worker. The worker that takes a key signals the next.
	changed *sync.Cond
	waiting fairness.Queue[K]
	// added are the keys to reconcile: those that wait, and those that were added while they were being reconciled.
	added map[K]bool
	// running are the keys that are being reconciled. busy counts them for each namespace.
	running map[K]bool
	busy    map[string]int
	ended   bool
}

var _ workqueue.TypedInterface[string] = (*queue[string])(nil)

func newQueue[K comparable](workers int, namespace func(K) string) *queue[K] {
	q := &queue[K]{
		namespace: namespace, workers: workers, added: map[K]bool{}, running: map[K]bool{}, busy: map[string]int{},
	}
	q.changed = sync.NewCond(&q.mu)
	return q
}

// Add implements workqueue.TypedInterface.
func (q *queue[K]) Add(key K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended || q.added[key] {
		return
	}
	q.added[key] = true
	if !q.running[key] {
		q.waiting.Push(q.namespace(key), key)
		q.changed.Signal()
	}
}

// Get implements workqueue.TypedInterface. It does not drain the queue: after ShutDown no key is returned.
func (q *queue[K]) Get() (key K, shutdown bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.ended {
		key, ok := q.waiting.Pop(q.mayTake)
		if !ok {
			q.changed.Wait()
			continue
		}
		delete(q.added, key)
		q.running[key] = true
		q.busy[q.namespace(key)]++
		q.changed.Signal()
		return key, false
	}
	return key, true
}

// mayTake reports whether a namespace may keep one more worker busy.
func (q *queue[K]) mayTake(namespace string) bool {
	return q.busy[namespace] < reserve*(q.workers-len(q.running))
}

// Done implements workqueue.TypedInterface.
func (q *queue[K]) Done(key K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	namespace := q.namespace(key)
	delete(q.running, key)
	if q.busy[namespace]--; q.busy[namespace] == 0 {
		delete(q.busy, namespace)
	}
	if q.added[key] {
		q.waiting.Push(namespace, key)
	}
	q.changed.Signal()
}

// Len implements workqueue.TypedInterface.
func (q *queue[K]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting.Len()
}

// ShutDown implements workqueue.TypedInterface.
func (q *queue[K]) ShutDown() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	q.changed.Broadcast()
}

// ShutDownWithDrain implements workqueue.TypedInterface.
func (q *queue[K]) ShutDownWithDrain() { q.ShutDown() }

// ShuttingDown implements workqueue.TypedInterface.
func (q *queue[K]) ShuttingDown() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ended
}
