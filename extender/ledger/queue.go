package ledger

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
)

// queue are Pods that wait for a slot, first in, first out. Pods that need the same are one group: whether there is
// room is decided once for each group, because a user can let tens of thousands of Pods wait, and the scheduler waits
// for each answer. The zero value is empty.
type queue[G comparable] struct {
	groups map[G][]*ticket[G]
	last   uint64 // the number of the last ticket
	len    int
}

// ticket is the position of a Pod in a queue.
type ticket[G comparable] struct {
	entry    *entry
	group    G // what the Pod needs
	number   uint64
	requeued bool
}

// add adds a Pod to the end.
func (q *queue[G]) add(e *entry, group G) *ticket[G] {
	q.last++
	t := &ticket[G]{entry: e, group: group, number: q.last}
	q.insert(t)
	return t
}

func (q *queue[G]) insert(t *ticket[G]) {
	if q.groups == nil {
		q.groups = map[G][]*ticket[G]{}
	}
	list := q.groups[t.group]
	at, _ := slices.BinarySearchFunc(list, t.number, (*ticket[G]).compare)
	q.groups[t.group] = slices.Insert(list, at, t)
	q.len++
}

func (q *queue[G]) remove(t *ticket[G]) {
	list := q.groups[t.group]
	at, found := slices.BinarySearchFunc(list, t.number, (*ticket[G]).compare)
	if !found {
		return
	}
	q.len--
	switch {
	case len(list) == 1:
		delete(q.groups, t.group)
	case at == 0: // The usual case, which moves nothing.
		list[0] = nil
		q.groups[t.group] = list[1:]
	default:
		q.groups[t.group] = slices.Delete(list, at, at+1)
	}
}

// move changes what a Pod needs. The Pod keeps its position.
func (q *queue[G]) move(t *ticket[G], group G) {
	if t.group != group {
		q.remove(t)
		t.group = group
		q.insert(t)
	}
}

func (t *ticket[G]) compare(number uint64) int { return cmp.Compare(t.number, number) }

// next requeues the Pods for which there is room, in order, except for those that were requeued before and have not
// come back yet. fits reports whether there is room for one more of a group. take takes it, for Pods that were requeued
// before too: what is free for them is not free for others.
func (q *queue[G]) next(fits func(G) bool, take func(G), requeue func(PodRef)) {
	var rest [][]*ticket[G]
	for group, list := range q.groups {
		if fits(group) {
			rest = append(rest, list)
		}
	}
	for len(rest) > 0 {
		first := 0
		for i, list := range rest {
			if list[0].number < rest[first][0].number {
				first = i
			}
		}
		t := rest[first][0]
		if !fits(t.group) { // Less is free than at the start.
			rest = slices.Delete(rest, first, first+1)
			continue
		}
		take(t.group)
		if !t.requeued {
			t.requeued = true
			requeue(t.entry.ref)
		}
		if rest[first] = rest[first][1:]; len(rest[first]) == 0 {
			rest = slices.Delete(rest, first, first+1)
		}
	}
}

// again makes next requeue Pods that were requeued before.
func (q *queue[G]) again() {
	for _, list := range q.groups {
		for _, t := range list {
			t.requeued = false
		}
	}
}

// waitForLocal adds a refused Pod to the end of its revision's queue.
func (l *Ledger) waitForLocal(e *entry, quota int) {
	rev := l.revisions[e.revision]
	e.waitsForLocal = rev.queue.add(e, quota)
}

// waitForCloud adds a refused Pod to the end of its namespace's queue. A Pod that is in the queue keeps its position:
// the scheduler retries Pods in any order.
func (l *Ledger) waitForCloud(e *entry) {
	if e.waitsForCloud != nil {
		e.waitsForCloud.requeued = false
		return
	}
	e.waitsForCloud = e.account.queue.add(e, missing(e))
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
	used := rev.used()
	rev.queue.next(
		func(quota int) bool { return used < quota },
		func(int) { used++ },
		l.requeue)
}

// requeueForCloud requeues as many waiting Pods as the limits of the namespace allow. A Pod that is too large for what
// is free now is skipped, so that smaller ones behind it do not wait.
func (l *Ledger) requeueForCloud(a *account) {
	if a.queue.len == 0 {
		return
	}
	limits, used := l.billing.Limits(a.namespace), a.used
	a.queue.next(
		func(missing policy.CloudUse) bool { return limits.Allow(used.Plus(missing)) },
		func(missing policy.CloudUse) { used = used.Plus(missing) },
		l.requeue)
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
