package ledger

import (
	"cmp"
	"slices"
	"time"

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

// requeue requeues the Pods for which there is room, in order, except for those that were requeued before and have not
// come back yet. fits reports whether there is room for one more of a group. take takes it, for Pods that were requeued
// before too: what is free for them is not free for others.
func (q *queue[G]) requeue(fits func(G) bool, take func(G), requeue func(*entry)) {
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
			requeue(t.entry)
		}
		if rest[first] = rest[first][1:]; len(rest[first]) == 0 {
			rest = slices.Delete(rest, first, first+1)
		}
	}
}

// again makes requeue requeue Pods that were requeued before.
func (q *queue[G]) again() {
	for _, list := range q.groups {
		for _, t := range list {
			t.requeued = false
		}
	}
}

// leave removes a Pod that does not wait any more from its queues. The next Pods get what it was requeued for.
func (l *Ledger) leave(e *entry) {
	waited := e.waitsForShares()
	l.leaveShares(e)
	if waited {
		l.requeueForShares(e.revision)
	}
	if e.waitsForCloud != nil {
		e.leaveCloudQueue()
		l.requeueForCloud(e.account)
	}
}

// waitsForShares reports whether the Pod waits in a queue of its revision.
func (e *entry) waitsForShares() bool {
	return e.waitsForLocal != nil || e.waitsForShare != nil || e.claims != nil
}

// leaveShares removes a Pod from the queues of its revision, and its deadline. It does not requeue the next Pod.
func (l *Ledger) leaveShares(e *entry) {
	l.dropDeadline(e)
	e.leaveSlots()
	e.leaveClaims()
}

// leaveSlots removes a Pod from the queues of local slots and of the cloud share of its revision.
func (e *entry) leaveSlots() {
	if e.waitsForLocal != nil {
		e.revision.slots.remove(e.waitsForLocal)
		e.waitsForLocal = nil
	}
	if e.waitsForShare != nil {
		e.revision.share.remove(e.waitsForShare)
		e.waitsForShare = nil
	}
}

// leaveClaims removes the claim of a Pod, if it has one.
func (e *entry) leaveClaims() {
	if e.claims != nil {
		e.revision.claims.drop(e.claims)
		e.claims = nil
	}
}

// leaveCloudQueue removes a Pod from its namespace's queue, if it is in it.
func (e *entry) leaveCloudQueue() {
	if e.waitsForCloud != nil {
		e.account.queue.remove(e.waitsForCloud)
		e.waitsForCloud = nil
	}
}

// requeueForShares requeues as many waiting Pods of a revision as there are free local slots, and as many as its cloud
// share has room for. It also requeues those that claim more than is left for them.
func (l *Ledger) requeueForShares(rev *revision) {
	if rev.slots.len > 0 {
		used := rev.used()
		rev.slots.requeue(
			func(s policy.Shares) bool { return used < s.LocalCap(rev.active) },
			func(policy.Shares) { used++ },
			l.requeueOnce)
	}
	if rev.share.len > 0 {
		used := rev.cloudUsed()
		rev.share.requeue(
			func(s policy.Shares) bool { return used < s.CloudCap(rev.active) },
			func(policy.Shares) { used++ },
			l.requeueOnce)
	}
	if rev.claims.len > 0 {
		rev.claims.void(rev.active, rev.used(), l.requeueOnce)
	}
}

// requeueOnce requeues a Pod for which a ticket says so, unless another ticket has said so before and the Pod has not
// come back yet.
func (l *Ledger) requeueOnce(e *entry) {
	said := 0
	for _, requeued := range []bool{
		e.waitsForLocal != nil && e.waitsForLocal.requeued, e.waitsForShare != nil && e.waitsForShare.requeued,
		e.waitsForCloud != nil && e.waitsForCloud.requeued, e.claims != nil && e.claims.requeued,
	} {
		if requeued {
			said++
		}
	}
	if said <= 1 {
		l.requeue(e.ref)
	}
}

// requeueForCloud requeues as many waiting Pods as the limits of the namespace allow. A Pod that is too large for what
// is free now is skipped, so that smaller ones behind it do not wait.
func (l *Ledger) requeueForCloud(a *account) {
	if a.queue.len == 0 {
		return
	}
	limits, used := l.billing.Limits(a.namespace), a.used
	a.queue.requeue(
		func(missing policy.CloudUse) bool { return limits.Allow(used.Plus(missing)) },
		func(missing policy.CloudUse) { used = used.Plus(missing) },
		l.requeueOnce)
}

// requeueQueues requeues the Pods for which there is room in any queue. If again is true, it also requeues Pods that
// were requeued before.
func (l *Ledger) requeueQueues(again bool) {
	for _, rev := range l.revisions {
		if again {
			rev.slots.again()
			rev.share.again()
			rev.claims.again(l.requeueOnce)
		}
		l.requeueForShares(rev)
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
func (l *Ledger) Park(uid types.UID) { l.ParkUntil(uid, time.Time{}) }

// ParkUntil is Park for a Pod that is also requeued at a time, unless that is zero.
func (l *Ledger) ParkUntil(uid types.UID, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.pods[uid]
	if !ok || e.node != "" {
		return
	}
	l.leave(e)
	e.parked = true
	if !until.IsZero() && e.active {
		l.setDeadline(e, until)
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

// PolicyChanged requeues every parked Pod, the waiting Pods that the limits of their namespaces allow now, and those
// that wait by shares that their namespace has changed. Call it when something that policy depends on has changed. It
// takes time in proportion to the number of Pods.
func (l *Ledger) PolicyChanged() {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed := map[*account]bool{}
	for _, a := range l.accounts {
		if now := inheritedText(l.billing.Annotations(a.namespace)); now != a.inherited {
			a.inherited, changed[a] = now, true
		}
	}
	for _, e := range l.pods {
		if e.parked || changed[e.account] && e.waitsForShares() {
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
