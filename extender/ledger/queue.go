package ledger

import "slices"

// enqueue adds a refused Pod to the end of its revision's queue.
func (l *Ledger) enqueue(e *entry, quota int) {
	e.waiting = &ticket{entry: e, quota: quota}
	rev := l.revisions[e.revision]
	rev.queue = append(rev.queue, e.waiting)
}

// leaveQueue removes a Pod from its queue, if it is in one. It does not requeue the next Pod.
func (l *Ledger) leaveQueue(e *entry) {
	if e.waiting == nil {
		return
	}
	rev := l.revisions[e.revision]
	rev.queue = slices.DeleteFunc(rev.queue, func(t *ticket) bool { return t == e.waiting })
	e.waiting = nil
}

// requeueNext requeues as many waiting Pods as there are free slots, minus the Pods that were requeued before and have
// not come back yet.
func (l *Ledger) requeueNext(rev *revision) {
	requeued := 0
	for _, t := range rev.queue {
		if t.quota-rev.used <= requeued {
			continue
		}
		requeued++
		if !t.requeued {
			t.requeued = true
			l.requeue(t.entry.ref)
		}
	}
}

// requeueQueues calls requeueNext for every revision. If again is true, it also requeues Pods that were requeued
// before.
func (l *Ledger) requeueQueues(again bool) {
	for _, rev := range l.revisions {
		if again {
			for _, t := range rev.queue {
				t.requeued = false
			}
		}
		l.requeueNext(rev)
	}
}
