package ledger

import (
	"container/heap"
	"context"
	"time"
)

// deadline is when a Pod that waits is requeued in any case. It ends with the wait and with the Pod, so there are never
// more deadlines than Pods.
type deadline struct {
	entry *entry
	at    time.Time
	index int // its position in the heap
}

// deadlines is a heap, the earliest first.
type deadlines []*deadline

var _ heap.Interface = (*deadlines)(nil)

// Len implements heap.Interface.
func (d deadlines) Len() int { return len(d) }

// Less implements heap.Interface.
func (d deadlines) Less(i, j int) bool { return d[i].at.Before(d[j].at) }

// Swap implements heap.Interface.
func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}

// Push implements heap.Interface.
func (d *deadlines) Push(x any) {
	added, _ := x.(*deadline)
	added.index = len(*d)
	*d = append(*d, added)
}

// Pop implements heap.Interface.
func (d *deadlines) Pop() any {
	end := len(*d) - 1
	last := (*d)[end]
	(*d)[end] = nil
	*d = (*d)[:end]
	return last
}

// setDeadline requeues the Pod at a time.
func (l *Ledger) setDeadline(e *entry, at time.Time) {
	if e.deadline != nil && e.deadline.at.Equal(at) {
		return // The usual case when the scheduler retries a Pod.
	}
	l.dropDeadline(e)
	e.deadline = &deadline{entry: e, at: at}
	heap.Push(&l.deadlines, e.deadline)
	if e.deadline.index == 0 {
		select {
		case l.sooner <- struct{}{}:
		default: // RunDeadlines has not read the last signal yet.
		}
	}
}

// dropDeadline takes back setDeadline.
func (l *Ledger) dropDeadline(e *entry) {
	if e.deadline != nil {
		heap.Remove(&l.deadlines, e.deadline.index)
		e.deadline = nil
	}
}

// recheck is how long RunDeadlines sleeps at most: a timer does not notice that the clock was set.
const recheck = time.Minute

// RunDeadlines requeues Pods when they may burst, until ctx ends. It blocks.
func (l *Ledger) RunDeadlines(ctx context.Context, now func() time.Time) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-l.sooner:
		}
		if next, ok := l.requeueDue(now()); ok {
			timer.Reset(min(next.Sub(now()), recheck))
		}
	}
}

// requeueDue requeues the Pods whose deadlines have come, and returns the next deadline, if there is one.
func (l *Ledger) requeueDue(now time.Time) (next time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.deadlines) > 0 {
		first := l.deadlines[0]
		if now.Before(first.at) {
			return first.at, true
		}
		l.dropDeadline(first.entry)
		claims := first.entry.claims
		if claims != nil && claims.requeued {
			continue // It is being requeued.
		}
		if claims != nil {
			claims.requeued = true
		}
		l.requeue(first.entry.ref)
	}
	return time.Time{}, false
}
