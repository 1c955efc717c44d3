package ledger

import "slices"

// enqueue puts a refused Pod at the end of its revision's queue.
func (l *Ledger) enqueue(e *entry, quota int) {
	e.waiting = &ticket{entry: e, quota: quota}
	rev := l.revisions[e.revision]
	rev.queue = append(rev.queue, e.waiting)
}

// leaveQueue forgets that a Pod waits. The next in line is woken where this one had been woken for a slot that is still free.
func (l *Ledger) leaveQueue(e *entry) {
	if e.waiting == nil {
		return
	}
	rev := l.revisions[e.revision]
	rev.queue = slices.DeleteFunc(rev.queue, func(t *ticket) bool { return t == e.waiting })
	e.waiting = nil
}

// wakeNext wakes as many waiting Pods as there are free slots, less those that were woken and have not asked yet.
func (l *Ledger) wakeNext(rev *revision) {
	woken := 0
	for _, t := range rev.queue {
		if t.quota-rev.used <= woken {
			continue
		}
		woken++
		if !t.woken {
			t.woken = true
			l.wake(t.entry.ref)
		}
	}
}

// wakeAll goes through every queue; again also wakes those that were woken before.
func (l *Ledger) wakeAll(again bool) {
	for _, rev := range l.revisions {
		if again {
			for _, t := range rev.queue {
				t.woken = false
			}
		}
		l.wakeNext(rev)
	}
}
