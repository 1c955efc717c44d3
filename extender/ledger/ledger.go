// Package ledger keeps the exact count of local replicas of each revision: the Pods that are bound to local nodes, plus
// the slots that are reserved for Pods whose binding has not been seen yet.
//
// The ledger is the store of a Reflector that watches all Pods. It only decides whether a slot is free. It does no I/O
// and does not know HTTP. All methods are safe for concurrent use.
//
// Invariant for each revision: used = its active Pods that are bound to a local node + its active unbound Pods with a
// reservation. A Pod that is terminating, has Succeeded or has Failed holds no slot.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/extender/slowcall"
	"github.com/spillway-k8s/spillway/policy"
)

// PodRef identifies one Pod. A later Pod with the same name has another PodRef.
type PodRef struct {
	types.NamespacedName
	UID types.UID
}

// RefOf returns the PodRef of a Pod.
func RefOf(pod *corev1.Pod) PodRef {
	return PodRef{types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}, pod.UID}
}

// Ledger counts slots. Create one with New.
type Ledger struct {
	nodes   Nodes
	requeue func(PodRef)

	mu        sync.Mutex
	pods      map[types.UID]*entry
	revisions map[policy.Revision]*revision
	loads     map[string]int
	local     map[int32]int // active Pods on local nodes, by priority
	version   uint64
	synced    bool
	// advanced notifies callers of WaitFor when version grows.
	advanced *slowcall.Events[struct{}]
}

// entry is the state of one Pod.
type entry struct {
	ref       PodRef
	counted   bool // has a local quota
	revision  policy.Revision
	node      string // empty while the Pod is unbound
	priority  int32
	active    bool
	reserved  bool
	confirmed bool // this process has reported the reservation to the scheduler in the current term (Confirm)
	revoked   bool // the slot on the Pod was never reported to the scheduler (revokeUnconfirmed)
	refused   bool // the Pod's condition says that the extender refused it
	parked    bool // refused by policy
	waiting   *ticket
}

// revision is the count of one quota.
type revision struct {
	pods  int // entries that refer to it
	used  int
	queue []*ticket // waiting Pods, first in, first out
}

// ticket is the position of a Pod in a queue for a slot.
type ticket struct {
	entry    *entry
	quota    int
	requeued bool
}

// Nodes says of which class a node is. Some are neither local nor virtual.
type Nodes interface {
	// IsLocal reports whether a node is local. An unknown node counts as local.
	IsLocal(node string) bool
	// IsVirtual reports whether a node is a virtual node of Spillway.
	IsVirtual(node string) bool
}

// New returns an empty Ledger. requeue is called, with the ledger locked, for a Pod that was refused and may now be
// scheduled. It must not block.
func New(nodes Nodes, requeue func(PodRef)) *Ledger {
	return &Ledger{
		nodes:     nodes,
		requeue:   requeue,
		pods:      map[types.UID]*entry{},
		revisions: map[policy.Revision]*revision{},
		loads:     map[string]int{},
		local:     map[int32]int{},
		advanced:  slowcall.NewEvents[struct{}](),
	}
}

// Outcome is the result of Reserve.
type Outcome string

const (
	// Local means that the Pod has a slot. It must go to a local node.
	Local Outcome = "local"
	// Cloud means that the quota is used up. The Pod must go to a virtual node.
	Cloud Outcome = "cloud"
	// Overflow means that a slot is free, but no local node fits. The Pod may go to a virtual node.
	Overflow Outcome = "overflow"
	// Wait means that the quota is used up and no virtual node fits. The Pod is requeued when a slot becomes free.
	Wait Outcome = "wait"
	// Gone means that the Pod is deleted, terminating or finished.
	Gone Outcome = "gone"
)

// Request is the input of Reserve.
type Request struct {
	UID types.UID
	// Quota is how many replicas stay on local nodes.
	Quota int
	// LocalFits and CloudFits are true if a local node and a virtual node can take the Pod now.
	LocalFits, CloudFits bool
}

// Reserve gives the Pod a slot if one is free and a local node fits. A Pod that has a slot keeps it while a local node
// fits, no matter how often Reserve is called. fresh is true if the slot is new: the caller must make it durable before
// it answers the scheduler, or call Cancel. Before it answers "local", the caller must call Confirm.
//
// A Pod that has a reservation and finds no local node goes to the cloud. Its slot becomes free only when the Pod is
// seen there: an earlier binding that timed out may still succeed.
func (l *Ledger) Reserve(r Request) (outcome Outcome, fresh bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.pods[r.UID]
	if !ok || !e.active || !e.counted {
		return Gone, false
	}
	l.leaveQueue(e)
	l.revokeUnconfirmed(e, r.Quota)
	switch {
	case e.node != "": // The Pod is bound, and the scheduler does not know it yet.
		if l.nodes.IsVirtual(e.node) {
			return Cloud, false
		}
		return Local, false
	case e.reserved && r.LocalFits:
		return Local, false
	case !e.reserved && r.LocalFits && l.revisions[e.revision].used < r.Quota:
		l.change(e, func() { e.reserved, e.confirmed, e.revoked = true, false, false })
		return Local, true
	case r.CloudFits:
		rev := l.revisions[e.revision]
		l.requeueNext(rev) // This Pod may have been requeued for a slot that it does not take.
		if e.reserved || rev.used < r.Quota {
			return Overflow, false
		}
		return Cloud, false
	default:
		l.enqueue(e, r.Quota)
		return Wait, false
	}
}

// Confirm records that the slot of the Pod is about to be reported to the scheduler, which may bind the Pod at any time
// afterwards. It may be called repeatedly.
func (l *Ledger) Confirm(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.pods[uid]; ok {
		e.confirmed = e.reserved
	}
}

// ReserveBeyondQuota gives the Pod a slot even if the quota is used up: the Pod may not burst and goes to a local node
// in any case. It may be called repeatedly.
func (l *Ledger) ReserveBeyondQuota(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.pods[uid]; ok && e.active && e.node == "" {
		l.leaveQueue(e)
		l.change(e, func() { e.reserved, e.confirmed = true, true })
	}
}

// revokeUnconfirmed takes back a slot beyond the quota that this process did not report to the scheduler. Such a slot
// was read from the Pod and was never reported: every later leader counts all reported slots before it gives more, so a
// slot beyond the quota was written too late, by an extender that no longer led. Or the write of the slot was slow, and
// other Pods were bound meanwhile without the extender.
func (l *Ledger) revokeUnconfirmed(e *entry, quota int) {
	if e.reserved && !e.confirmed && e.node == "" && l.revisions[e.revision].used > quota {
		e.revoked = true
		l.change(e, func() { e.reserved = false })
	}
}

// ResetConfirmed must be called when another extender may have given slots. Afterwards the slots that this process gave
// count like slots that were read from Pods.
func (l *Ledger) ResetConfirmed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.pods {
		e.confirmed = false
	}
}

// Cancel takes back a fresh slot that was not reported to the scheduler. It does not change a Pod that is bound.
func (l *Ledger) Cancel(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.pods[uid]; ok {
		l.change(e, func() { e.reserved, e.confirmed = false, false })
	}
}

// Load returns how many active Pods are bound to a node.
func (l *Ledger) Load(node string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.loads[node]
}

// HasLocalBelow reports whether an active Pod of a lower priority is on a local node: preemption may make room there.
func (l *Ledger) HasLocalBelow(priority int32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for other := range l.local {
		if other < priority {
			return true
		}
	}
	return false
}

// Recount must be called after the class of a node has changed.
func (l *Ledger) Recount() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, rev := range l.revisions {
		rev.used = 0
	}
	clear(l.local)
	for _, e := range l.pods {
		if l.holdsSlot(e) {
			l.revisions[e.revision].used++
		}
		if l.isLocal(e) {
			l.local[e.priority]++
		}
	}
	l.requeueQueues(false)
}

// Park records that policy refused the Pod. The next RequeueParked requeues it.
func (l *Ledger) Park(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.pods[uid]; ok && e.node == "" {
		e.parked = true
	}
}

// RequeueParked requeues every parked Pod. Call it when something that policy depends on has changed. It takes time in
// proportion to the number of Pods.
func (l *Ledger) RequeueParked() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.pods {
		if e.parked {
			e.parked = false
			l.requeue(e.ref)
		}
	}
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

// RequeueWaiting requeues every waiting Pod for which a slot is free, also if it was requeued before. It is a safety
// net for a requeue that was lost.
func (l *Ledger) RequeueWaiting() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requeueQueues(true)
}

// Stats are the numbers for metrics.
type Stats struct{ Pods, Revisions, Reserved, Waiting, Parked int }

// Stats returns the current numbers. It takes time in proportion to the number of Pods.
func (l *Ledger) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{Pods: len(l.pods), Revisions: len(l.revisions)}
	for _, e := range l.pods {
		if e.reserved && e.active {
			s.Reserved++
		}
		if e.waiting != nil {
			s.Waiting++
		}
		if e.parked {
			s.Parked++
		}
	}
	return s
}

// waitingForWatch introduces the errors of WaitFor. They name no versions: they are part of the Pod's condition, and a
// text that changes costs one write for each attempt.
const waitingForWatch = "waiting for the watch of Pods to reach the version that the scheduler has seen"

// errStalled is what WaitFor returns while the watch is stalled.
var errStalled = errors.New(waitingForWatch + ": the watch has stalled")

// WaitFor blocks until the ledger has seen the cluster as of a resource version. It returns an error if ctx ends
// before. A Pod that the scheduler sends with that version is then known here, and so is everything that happened
// before.
//
// If a call has reached its deadline without any event in between, the watch has stalled: until the next event, later
// calls return an error at once. The scheduler handles one Pod at a time, so all other Pods wait for each call. A
// stalled watch must cost them one timeout, and not one timeout for each Pod that has a quota.
func (l *Ledger) WaitFor(ctx context.Context, resourceVersion string) error {
	want, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return fmt.Errorf("metadata.resourceVersion: invalid value %q: must be a number", resourceVersion)
	}
	err = l.advanced.Wait(ctx, func() (struct{}, bool) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return struct{}{}, l.synced && l.version >= want
	})
	switch {
	case errors.Is(err, slowcall.ErrStalled):
		return errStalled
	case err != nil:
		return fmt.Errorf(waitingForWatch+": %w", err)
	}
	return nil
}

// Synced reports whether the ledger has been filled.
func (l *Ledger) Synced() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.synced
}

// holdsSlot reports whether the entry holds a slot of its revision.
func (l *Ledger) holdsSlot(e *entry) bool {
	if !e.counted || !e.active {
		return false
	}
	return l.isLocal(e) || e.node == "" && e.reserved
}

// isLocal reports whether the Pod is active on a local node.
func (l *Ledger) isLocal(e *entry) bool { return e.active && e.node != "" && l.nodes.IsLocal(e.node) }

// change changes an entry and keeps the invariant.
func (l *Ledger) change(e *entry, apply func()) {
	before := l.holdsSlot(e)
	apply()
	after := l.holdsSlot(e)
	rev := l.revisions[e.revision]
	switch {
	case rev == nil || before == after:
		return
	case after:
		rev.used++
	default:
		rev.used--
		l.requeueNext(rev)
	}
}

// hasSlot reports whether an extender, this one or an earlier one, has reserved a slot for a Pod that is not bound yet.
func hasSlot(pod *corev1.Pod) bool {
	return pod.Spec.NodeName == "" && pod.Annotations[policy.LocalSlotAnnotation] == string(pod.UID)
}
