package podlife

import (
	"container/heap"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

// target names an object to reconcile.
type target struct {
	res *objects.Resource
	key types.NamespacedName
}

// item is a target with the time at which it is due.
type item struct {
	target target
	at     time.Time
	index  int
}

// queue holds each target once at most, the earliest first.
type queue struct {
	items    itemHeap
	byTarget map[target]*item
}

func newQueue() *queue { return &queue{byTarget: map[target]*item{}} }

// set changes the time of a target, and reports whether it is now the earliest of all. A zero time removes the target.
func (q *queue) set(t target, at time.Time) bool {
	old := q.byTarget[t]
	if at.IsZero() {
		if old != nil {
			heap.Remove(&q.items, old.index)
			delete(q.byTarget, t)
		}
		return false
	}
	if old == nil {
		old = &item{target: t, at: at}
		q.byTarget[t] = old
		heap.Push(&q.items, old)
	} else {
		old.at = at
		heap.Fix(&q.items, old.index)
	}
	return old.index == 0
}

// pop removes and returns the earliest target that is due at now.
func (q *queue) pop(now time.Time) (target, bool) {
	if len(q.items) == 0 || q.items[0].at.After(now) {
		return target{}, false
	}
	next := heap.Pop(&q.items).(*item)
	delete(q.byTarget, next.target)
	return next.target, true
}

// next returns the earliest time at which a target is due, zero if there is none.
func (q *queue) next() time.Time {
	if len(q.items) == 0 {
		return time.Time{}
	}
	return q.items[0].at
}

// itemHeap implements heap.Interface.
type itemHeap []*item

func (h itemHeap) Len() int           { return len(h) }
func (h itemHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h itemHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *itemHeap) Push(x any) {
	it := x.(*item)
	it.index = len(*h)
	*h = append(*h, it)
}
func (h *itemHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
