// Package ledger keeps the exact count of local replicas per revision: the Pods bound to local nodes plus the slots that were
// promised to Pods whose binding is not seen yet.
//
// It is fed by a watch of all Pods (it is the store of a Reflector) and asked by the extender. It decides nothing but
// whether a slot is free, does no I/O, and knows no HTTP. All its methods may be called by many goroutines at once.
//
// Invariant, for each revision: used = its active Pods that are bound to a local node + its active unbound Pods with a
// reservation. A Pod that terminates, has Succeeded or Failed holds no slot.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
)

// PodRef names one Pod and no later one of the same name.
type PodRef struct {
	types.NamespacedName
	UID types.UID
}

// RefOf names a Pod.
func RefOf(pod *corev1.Pod) PodRef {
	return PodRef{types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}, pod.UID}
}

// Ledger is the count. Make one with New.
type Ledger struct {
	isVirtual func(node string) bool
	wake      func(PodRef)

	mu        sync.Mutex
	pods      map[types.UID]*entry
	revisions map[policy.Revision]*revision
	loads     map[string]int
	local     map[int32]int // active Pods on local nodes, by priority
	version   uint64
	synced    bool
	advanced  chan struct{} // closed and replaced when version grows
	stalled   chan struct{} // the advanced that was waited for in vain
}

// entry is what is known of one Pod.
type entry struct {
	ref      PodRef
	counted  bool // carries a local quota
	revision policy.Revision
	node     string // empty while unbound
	priority int32
	active   bool
	reserved bool
	told     bool // the scheduler was told of the reservation, by this process and in the present term (Disown)
	void     bool // the slot on the Pod was never answered (Ask)
	refused  bool // its condition says that the extender refused it
	parked   bool // refused by policy
	waiting  *ticket
}

// revision is the count of one quota.
type revision struct {
	pods  int // entries that refer to it
	used  int
	queue []*ticket // waiting Pods, first come first
}

// ticket is a place in a queue for a slot.
type ticket struct {
	entry *entry
	quota int
	woken bool
}

// New makes an empty Ledger. isVirtual tells a virtual node from a local one; a name that it does not know counts as local.
// wake is called, with the ledger locked, for a Pod that was refused and may now be let through: it must not block.
func New(isVirtual func(node string) bool, wake func(PodRef)) *Ledger {
	return &Ledger{
		isVirtual: isVirtual,
		wake:      wake,
		pods:      map[types.UID]*entry{},
		revisions: map[policy.Revision]*revision{},
		loads:     map[string]int{},
		local:     map[int32]int{},
		advanced:  make(chan struct{}),
	}
}

// Answer is what the ledger says to a Pod with a quota.
type Answer string

const (
	// Local: a slot is this Pod's; it must go to a local node.
	Local Answer = "local"
	// Cloud: the quota is used up; it must go to a virtual node.
	Cloud Answer = "cloud"
	// Overflow: a slot is free, but no local node fits; it may go to a virtual node.
	Overflow Answer = "overflow"
	// Wait: the quota is used up and no virtual node fits. The Pod is woken when a slot frees.
	Wait Answer = "wait"
	// Gone: the Pod is deleted, being deleted or finished.
	Gone Answer = "gone"
)

// Request is a question to the ledger.
type Request struct {
	UID types.UID
	// Quota is how many replicas stay home.
	Quota int
	// LocalFits and CloudFits tell whether a local and a virtual node can take the Pod now.
	LocalFits, CloudFits bool
}

// Ask gives a slot to the Pod where one is free and a local node fits. It is sticky: a Pod that has a slot keeps it
// while a local node fits, however often it asks. fresh is true where the slot is given for the first time: the caller
// must make it durable before it answers the scheduler, or Cancel it. It must say so (Tell) before it answers.
//
// A Pod with a reservation that finds no local node goes to the cloud, but its slot is freed only when it is seen there:
// an earlier binding that timed out may still land.
func (l *Ledger) Ask(r Request) (answer Answer, fresh bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.pods[r.UID]
	if !ok || !e.active || !e.counted {
		return Gone, false
	}
	l.leaveQueue(e)
	l.doubt(e, r.Quota)
	switch {
	case e.node != "": // Bound already: the scheduler does not know it yet.
		if l.isVirtual(e.node) {
			return Cloud, false
		}
		return Local, false
	case e.reserved && r.LocalFits:
		return Local, false
	case !e.reserved && r.LocalFits && l.revisions[e.revision].used < r.Quota:
		l.change(e, func() { e.reserved, e.told, e.void = true, false, false })
		return Local, true
	case r.CloudFits:
		rev := l.revisions[e.revision]
		l.wakeNext(rev) // It may have been woken for a slot that it does not take.
		if e.reserved || rev.used < r.Quota {
			return Overflow, false
		}
		return Cloud, false
	default:
		l.enqueue(e, r.Quota)
		return Wait, false
	}
}

// Tell notes that the scheduler is about to be told that the Pod has a slot: from here on it may bind the Pod at any time. It may be called
// again.
func (l *Ledger) Tell(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.pods[uid]; ok {
		e.told = e.reserved
	}
}

// Hold gives the Pod a slot beyond any quota: it may not burst and is let through to local nodes. It may be called again.
func (l *Ledger) Hold(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.pods[uid]; ok && e.active && e.node == "" {
		l.leaveQueue(e)
		l.change(e, func() { e.reserved, e.told = true, true })
	}
}

// doubt takes back a slot beyond the quota of which this process did not tell the scheduler. It was read from the Pod, and then never answered: every
// slot that was is counted by all who lead later before they give others away, so one of those beyond the quota was written too late by an
// extender that led no longer. Or it took long to write, and others have come past the extender meanwhile.
func (l *Ledger) doubt(e *entry, quota int) {
	if e.reserved && !e.told && e.node == "" && l.revisions[e.revision].used > quota {
		e.void = true
		l.change(e, func() { e.reserved = false })
	}
}

// Disown must be called when another extender may have given slots away: from here on those of this process count as read from the
// Pods.
func (l *Ledger) Disown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.pods {
		e.told = false
	}
}

// Cancel takes back a fresh slot whose Pod was not let through. A Pod that is bound is not touched.
func (l *Ledger) Cancel(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.pods[uid]; ok {
		l.change(e, func() { e.reserved, e.told = false, false })
	}
}

// Load is how many active Pods are bound to a node.
func (l *Ledger) Load(node string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.loads[node]
}

// HasLocalBelow tells whether an active Pod of a lower priority is on a local node: preemption may make room at home.
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

// Recount must be called after isVirtual has changed its mind about a node.
func (l *Ledger) Recount() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, rev := range l.revisions {
		rev.used = 0
	}
	clear(l.local)
	for _, e := range l.pods {
		if l.holds(e) {
			l.revisions[e.revision].used++
		}
		if l.isLocal(e) {
			l.local[e.priority]++
		}
	}
	l.wakeAll(false)
}

// Park notes that the Pod was refused by policy: the next WakeParked wakes it.
func (l *Ledger) Park(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.pods[uid]; ok && e.node == "" {
		e.parked = true
	}
}

// WakeParked wakes every parked Pod: a fact that policy depends on has changed. It takes time in proportion to the number of Pods.
func (l *Ledger) WakeParked() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.pods {
		if e.parked {
			e.parked = false
			l.wake(e.ref)
		}
	}
}

// WakeRefused wakes every Pod whose condition says that an extender has refused it: this one does not know who waits for what. It takes
// time in proportion to the number of Pods.
func (l *Ledger) WakeRefused() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.pods {
		if e.refused {
			l.wake(e.ref)
		}
	}
}

// WakeWaiting wakes again every waiting Pod that finds a free slot, also those that were woken before: the net under a wake-up
// that was lost.
func (l *Ledger) WakeWaiting() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wakeAll(true)
}

// Stats is the ledger in numbers.
type Stats struct{ Pods, Revisions, Reserved, Waiting, Parked int }

// Stats counts. It takes time in proportion to the number of Pods.
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

// WaitFor blocks until the ledger has seen the cluster as of a resource version, or ctx ends, which is an error. A Pod that
// the scheduler sends at that version is then known here, and so is everything that came before it.
//
// Once it has waited in vain to a deadline, with no event at all in between, the watch stands still: until the next event it does not wait again.
// The scheduler asks about one Pod after another, and all others wait meanwhile: a watch that stalls must cost them one
// patience, not one for each Pod that has a quota.
func (l *Ledger) WaitFor(ctx context.Context, resourceVersion string) error {
	want, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return fmt.Errorf("metadata.resourceVersion: invalid value %q: must be a number", resourceVersion)
	}
	first := true
	for {
		l.mu.Lock()
		version, synced, advanced, stalled := l.version, l.synced, l.advanced, l.stalled
		l.mu.Unlock()
		switch {
		case synced && version >= want:
			return nil
		case advanced == stalled:
			return errStalled
		}
		select {
		case <-advanced:
			first = false
		case <-ctx.Done():
			if first && errors.Is(ctx.Err(), context.DeadlineExceeded) {
				l.mu.Lock()
				l.stalled = advanced
				l.mu.Unlock()
			}
			return fmt.Errorf("waiting to see in the watch of Pods what the scheduler has seen: %w", ctx.Err())
		}
	}
}

// The texts name no versions: they come into the Pod's condition, and one that changes is a write for each attempt.
var errStalled = errors.New("waiting to see in the watch of Pods what the scheduler has seen: it stands still")

// Synced tells whether the ledger has been filled.
func (l *Ledger) Synced() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.synced
}

// holds tells whether the entry holds a slot of its revision.
func (l *Ledger) holds(e *entry) bool {
	if !e.counted || !e.active {
		return false
	}
	return l.isLocal(e) || e.node == "" && e.reserved
}

// isLocal tells whether the Pod is active on a local node.
func (l *Ledger) isLocal(e *entry) bool { return e.active && e.node != "" && !l.isVirtual(e.node) }

// change applies a change to an entry and keeps the invariant.
func (l *Ledger) change(e *entry, apply func()) {
	before := l.holds(e)
	apply()
	after := l.holds(e)
	rev := l.revisions[e.revision]
	switch {
	case rev == nil || before == after:
		return
	case after:
		rev.used++
	default:
		rev.used--
		l.wakeNext(rev)
	}
}

// wasRefused tells whether the scheduler's last attempt ended with a refusal of an extender: all begin with its name.
func wasRefused(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled {
			return condition.Status == corev1.ConditionFalse && strings.Contains(condition.Message, policy.RefusalPrefix)
		}
	}
	return false
}

// hasSlot tells whether this or an earlier life of the extender has promised a slot to a Pod that is not bound yet.
func hasSlot(pod *corev1.Pod) bool {
	return pod.Spec.NodeName == "" && pod.Annotations[policy.LocalSlotAnnotation] == string(pod.UID)
}
