package ledger

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// queue are Pods that wait for a slot, first in, first out.
type queue []*ticket

// ticket is the position of a Pod in a queue.
type ticket struct {
	entry    *entry
	quota    int // in the queue of a revision
	requeued bool
}

func (q *queue) remove(t *ticket) {
	*q = slices.DeleteFunc(*q, func(other *ticket) bool { return other == t })
}

// next requeues the Pods for which fits returns true, in order, except for those that were requeued before and have not
// come back yet. fits is called for them too: what is free for them is not free for others.
func (q queue) next(fits func(*ticket) bool, requeue func(PodRef)) {
	for _, t := range q {
		if fits(t) && !t.requeued {
			t.requeued = true
			requeue(t.entry.ref)
		}
	}
}

// again makes next requeue Pods that were requeued before.
func (q queue) again() {
	for _, t := range q {
		t.requeued = false
	}
}

// waitForLocal adds a refused Pod to the end of its revision's queue.
func (l *Ledger) waitForLocal(e *entry, quota int) {
	rev := l.revisions[e.revision]
	e.waitsForLocal = &ticket{entry: e, quota: quota}
	rev.queue = append(rev.queue, e.waitsForLocal)
}

// waitForCloud adds a refused Pod to the end of its namespace's queue. A Pod that is in the queue keeps its position:
// the scheduler retries Pods in any order.
func (l *Ledger) waitForCloud(e *entry) {
	if e.waitsForCloud != nil {
		e.waitsForCloud.requeued = false
		return
	}
	e.waitsForCloud = &ticket{entry: e}
	e.account.queue = append(e.account.queue, e.waitsForCloud)
}

// leave removes a Pod that does not wait for slots any more from its queues.
func (l *Ledger) leave(e *entry) {
	l.leaveLocal(e)
	if e.waitsForCloud != nil {
		l.leaveCloudQueue(e)
		l.requeueForCloud(e.account)
	}
}

// leaveLocal removes a Pod from its revision's queue. The next Pod gets the slot that the removed Pod was requeued for.
func (l *Ledger) leaveLocal(e *entry) {
	if e.waitsForLocal != nil {
		l.leaveLocalQueue(e)
		l.requeueForLocal(l.revisions[e.revision])
	}
}

// leaveLocalQueue removes a Pod from its revision's queue, if it is in it. It does not requeue the next Pod.
func (l *Ledger) leaveLocalQueue(e *entry) {
	if e.waitsForLocal != nil {
		l.revisions[e.revision].queue.remove(e.waitsForLocal)
		e.waitsForLocal = nil
	}
}

// leaveCloudQueue removes a Pod from its namespace's queue, if it is in it. It does not requeue the next Pod.
func (l *Ledger) leaveCloudQueue(e *entry) {
	if e.waitsForCloud != nil {
		e.account.queue.remove(e.waitsForCloud)
		e.waitsForCloud = nil
	}
}

// requeueForLocal requeues as many waiting Pods as there are free slots.
func (l *Ledger) requeueForLocal(rev *revision) {
	requeued := 0
	rev.queue.next(func(t *ticket) bool {
		if t.quota-rev.used <= requeued {
			return false
		}
		requeued++
		return true
	}, l.requeue)
}

// requeueForCloud requeues as many waiting Pods as the limits of the namespace allow. A Pod that is too large for what
// is free now is skipped, so that smaller ones behind it do not wait.
func (l *Ledger) requeueForCloud(a *account) {
	if len(a.queue) == 0 {
		return
	}
	limits, used := l.billing.Limits(a.namespace), a.used
	a.queue.next(func(t *ticket) bool {
		more := used.Plus(missing(t.entry))
		if !limits.Allow(more) {
			return false
		}
		used = more
		return true
	}, l.requeue)
}

// requeueQueues requeues the Pods for which there is room in any queue. If again is true, it also requeues Pods that
// were requeued before.
func (l *Ledger) requeueQueues(again bool) {
	for _, rev := range l.revisions {
		if again {
			rev.queue.again()
		}
		l.requeueForLocal(rev)
	}
	for _, a := range l.accounts {
		if again {
			a.queue.again()
		}
		l.requeueForCloud(a)
	}
}

// RequeueWaiting requeues every waiting Pod for which a slot is free, also if it was requeued before. It is a safety
// net for a requeue that was lost.
func (l *Ledger) RequeueWaiting() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requeueQueues(true)
}

// Park records that policy refused the Pod: it does not wait for a slot. The next PolicyChanged requeues it.
func (l *Ledger) Park(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.pods[uid]; ok && e.node == "" {
		l.leave(e)
		e.parked = true
	}
}

// PreemptEnded records whether the scheduler got an answer about preemption for a Pod. Without one it has evicted
// nothing, and does not ask again: the Pod is requeued.
func (l *Ledger) PreemptEnded(uid types.UID, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.pods[uid]
	if !ok || !e.active || e.node != "" {
		return
	}
	e.undecided = err != nil
	if e.undecided {
		l.requeue(e.ref)
	}
}

// PreemptUndecided reports whether the last question about preemption for a Pod had no answer.
func (l *Ledger) PreemptUndecided(uid types.UID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.pods[uid]
	return ok && e.undecided
}

// PolicyChanged requeues every parked Pod, and the waiting Pods that the limits of their namespaces allow now. Call it
// when something that policy depends on has changed. It takes time in proportion to the number of Pods.
func (l *Ledger) PolicyChanged() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.pods {
		if e.parked {
			e.parked = false
			l.requeue(e.ref)
		}
	}
	l.requeueQueues(false)
}

// RequeueRefused requeues every Pod whose condition says that an extender refused it. A new leader calls it, because it
// does not know which Pods wait for what. It takes time in proportion to the number of Pods.
func (l *Ledger) RequeueRefused() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.pods {
		if e.refused {
			l.requeue(e.ref)
		}
	}
}
