package ccisim

import (
	"container/heap"
	"time"
)

// target names an object that has a life of its own.
type target struct {
	res *resource
	key key
}

// appointment is the time at which a target has to be looked at.
type appointment struct {
	target target
	at     time.Time
	index  int
}

// agenda holds one appointment per target at most, the earliest on top.
type agenda struct {
	queue    appointmentQueue
	byTarget map[target]*appointment
}

func newAgenda() *agenda { return &agenda{byTarget: map[target]*appointment{}} }

// set moves the target's appointment to at, and reports whether that is now the earliest of all. A zero time cancels it.
func (a *agenda) set(t target, at time.Time) bool {
	old := a.byTarget[t]
	if at.IsZero() {
		if old != nil {
			heap.Remove(&a.queue, old.index)
			delete(a.byTarget, t)
		}
		return false
	}
	if old == nil {
		old = &appointment{target: t, at: at}
		a.byTarget[t] = old
		heap.Push(&a.queue, old)
	} else {
		old.at = at
		heap.Fix(&a.queue, old.index)
	}
	return old.index == 0
}

// due takes the earliest target that is due at now.
func (a *agenda) due(now time.Time) (target, bool) {
	if len(a.queue) == 0 || a.queue[0].at.After(now) {
		return target{}, false
	}
	next := heap.Pop(&a.queue).(*appointment)
	delete(a.byTarget, next.target)
	return next.target, true
}

// next is the time of the earliest appointment, zero when there is none.
func (a *agenda) next() time.Time {
	if len(a.queue) == 0 {
		return time.Time{}
	}
	return a.queue[0].at
}

type appointmentQueue []*appointment

func (q appointmentQueue) Len() int           { return len(q) }
func (q appointmentQueue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q appointmentQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *appointmentQueue) Push(x any) {
	a := x.(*appointment)
	a.index = len(*q)
	*q = append(*q, a)
}
func (q *appointmentQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return last
}
