package ledger

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
)

// Outcome says to which nodes a Pod may go.
type Outcome string

const (
	// Local means that the Pod has a local slot. It must go to a local node.
	Local Outcome = "local"
	// Cloud means that the local share is used up, or that the Pod has no shares. The Pod must go to a virtual node.
	Cloud Outcome = "cloud"
	// Overflow means that a local slot is free, but no local node fits. The Pod may go to a virtual node.
	Overflow Outcome = "overflow"
	// Preempt means that no local node fits, and that the Pod must not go to a virtual node yet (Request.PreemptFirst).
	Preempt Outcome = "preempt"
	// LocalMinimum means that a local slot is free, but no local node fits, and that the Pod is one of those that must
	// not burst. It claims a place on local nodes, and is requeued when it need not wait any more.
	LocalMinimum Outcome = "local-minimum"
	// BurstAfter means the same for a Pod that must not burst yet (Request.WaitUntil). It is requeued at that time too.
	BurstAfter Outcome = "burst-after"
	// Wait means that the local share is used up and no virtual node fits. The Pod is requeued when a slot becomes
	// free.
	Wait Outcome = "wait"
	// CloudMaximum means that the Pod would go to a virtual node, but that its revision has its share of the cloud. The
	// Pod is requeued when it has not, or when a local slot becomes free.
	CloudMaximum Outcome = "cloud-maximum"
	// Limited means that the Pod would go to a virtual node, but that the limits of its namespace do not allow it now.
	// The Pod is requeued when they do, or when a local slot becomes free.
	Limited Outcome = "limited"
	// Nowhere means that a local slot is free, and that no node of either class fits.
	Nowhere Outcome = "nowhere"
	// Gone means that the Pod is deleted, terminating or finished.
	Gone Outcome = "gone"
)

// Waits reports whether the ledger requeues a Pod with this outcome.
func (o Outcome) Waits() bool {
	switch o {
	case LocalMinimum, BurstAfter, Wait, CloudMaximum, Limited:
		return true
	case Local, Cloud, Overflow, Preempt, Nowhere, Gone:
	}
	return false
}

// Kind is a kind of slot: the annotation that records it on the Pod.
type Kind string

const (
	// LocalSlot is a slot of the local share of a revision.
	LocalSlot Kind = policy.LocalSlotAnnotation
	// CloudSlot is a slot within the limits of a namespace and the cloud share of a revision.
	CloudSlot Kind = policy.CloudSlotAnnotation
)

// Slot is what a Pod has got, and what must be durable before the scheduler learns of it. The zero value means that
// there is nothing to record.
type Slot struct {
	Kind Kind
	// Use is what a CloudSlot counts.
	Use policy.CloudUse
	// Fresh is true if the Pod did not have the slot before: the caller must make it durable, or call Cancel.
	Fresh bool
}

// Request is the input of Reserve.
type Request struct {
	UID types.UID
	// Shares are those of the Pod, zero if it has none.
	Shares policy.Shares
	// LocalFits and CloudFits are true if a local node and a virtual node can take the Pod now.
	LocalFits, CloudFits bool
	// PreemptFirst forbids the cloud to a Pod that is not over its local share, for Preempt.
	PreemptFirst bool
	// WaitUntil is when a Pod with shares may burst for which no local node fits. It is zero if the Pod may burst now.
	WaitUntil time.Time
}

// MayWait reports whether the Pod has not waited as long as it must.
func (r Request) MayWait() bool { return !r.WaitUntil.IsZero() }

// Reserve decides between local nodes and virtual nodes, and counts the Pod there at the same moment. A Pod with shares
// gets a local slot if one is free and a local node fits. It keeps the slot while a local node fits, no matter how
// often Reserve is called. If one is free and no local node fits, it waits for room as long as it must. Any other Pod
// gets a cloud slot if a virtual node fits and the cloud share of its revision and the limits of its namespace allow
// it.
//
// If there is a slot to record, the caller must make it durable and then call Confirm before it answers the scheduler.
//
// A reservation ends on proof only. A Pod that has a local slot and finds no local node goes to the cloud, and its slot
// becomes free only when the Pod is seen there: an earlier binding that timed out may still succeed. For the same
// reason a Pod with a cloud slot that finds a local node now keeps the cloud slot until it is seen on the local node.
func (l *Ledger) Reserve(r Request) (Outcome, Slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.pods[r.UID]
	if !ok || !e.active {
		return Gone, Slot{}
	}
	l.asking = e
	e.leaveSlots()
	s, revoked := l.situationOf(e).revoked(r.Shares)
	for _, kind := range revoked {
		l.take(e, kind, slot{revoked: true})
	}
	outcome := s.outcome(r)
	slot := l.apply(e, s, r, outcome)
	l.queue(e, s, r, outcome)
	l.asking = nil
	// This Pod may have been requeued for a slot or for room that it does not take.
	l.requeueForShares(e.revision)
	l.requeueForCloud(e.account)
	return outcome, slot
}

// apply gives an unbound Pod the slot of its outcome.
func (l *Ledger) apply(e *entry, s situation, r Request, outcome Outcome) Slot {
	if s.bound {
		return Slot{}
	}
	switch outcome {
	case Local:
		fresh := !e.local.reserved
		if fresh {
			l.change(e, func() { e.local = slot{reserved: true} })
		}
		return Slot{Kind: LocalSlot, Fresh: fresh}
	case Cloud, Overflow:
		return l.reserveCloud(e, !s.limits.IsZero() || r.Shares.CloudMax.Set)
	case LocalMinimum, BurstAfter, Wait, CloudMaximum, Limited, Preempt, Nowhere, Gone:
	}
	return Slot{}
}

// queue gives a Pod that waits a place in the queues of what it waits for, and takes it out of the others. A Pod that
// waits for the same as before keeps its place: the scheduler retries Pods in any order.
func (l *Ledger) queue(e *entry, s situation, r Request, outcome Outcome) {
	shared := !r.Shares.IsZero()
	switch {
	case outcome != Limited || !shared && r.LocalFits:
		e.leaveCloudQueue()
	case e.waitsForCloud != nil:
		e.waitsForCloud.requeued = false
	default:
		e.waitsForCloud = e.account.queue.add(e, missing(e))
	}
	if outcome != LocalMinimum && outcome != BurstAfter {
		e.leaveClaims()
	}
	if outcome != BurstAfter {
		l.dropDeadline(e)
	}
	if !shared || s.bound || !outcome.Waits() {
		return
	}
	e.account.inherited = inheritedText(l.billing.Annotations(e.ref.Namespace))
	switch outcome {
	case LocalMinimum, BurstAfter:
		e.claim(claim{shares: r.Shares, floor: outcome == LocalMinimum, held: e.standing.holds})
		if outcome == BurstAfter {
			l.setDeadline(e, r.WaitUntil)
		}
		return
	case CloudMaximum:
		e.waitsForShare = e.revision.share.add(e, r.Shares)
	case Wait, Limited, Local, Cloud, Overflow, Preempt, Nowhere, Gone:
	}
	if !s.withinQuota(r.Shares) {
		e.waitsForLocal = e.revision.slots.add(e, r.Shares)
	}
}

// claim sets the claim of a Pod.
func (e *entry) claim(group claim) {
	if e.claims == nil {
		e.claims = e.revision.claims.add(e, group)
		return
	}
	e.claims.requeued = false
	e.revision.claims.change(e.claims, group)
}

// reserveCloud gives the Pod a cloud slot. A durable one is recorded on the Pod.
func (l *Ledger) reserveCloud(e *entry, durable bool) Slot {
	if !durable {
		l.chargeCloud(e)
		return Slot{}
	}
	fresh := !e.cloud.reserved
	if fresh {
		l.change(e, func() { e.cloud = slot{reserved: true} })
	}
	e.granted = e.use
	return Slot{Kind: CloudSlot, Use: e.use, Fresh: fresh}
}

// ChargeCloud counts a Pod that may go to a virtual node in a namespace without limits. It may be called repeatedly.
func (l *Ledger) ChargeCloud(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.pods[uid]; ok && e.active && e.node == "" {
		l.chargeCloud(e)
	}
}

// chargeCloud gives the Pod a cloud slot that need not be durable. It counts only so that limits and shares that are
// set later include what is being bound.
func (l *Ledger) chargeCloud(e *entry) {
	l.change(e, func() { e.cloud = slot{reserved: true, confirmed: true} })
	e.granted = e.use
}

// Confirm records that a slot of the Pod is about to be reported to the scheduler, which may bind the Pod at any time
// afterwards. It may be called repeatedly.
func (l *Ledger) Confirm(uid types.UID, kind Kind) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.pods[uid]; ok {
		s := e.slot(kind)
		s.confirmed = s.reserved
	}
}

// Cancel takes back a fresh slot that was not reported to the scheduler. It does not change a Pod that is bound.
func (l *Ledger) Cancel(uid types.UID, kind Kind) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.pods[uid]; ok {
		l.take(e, kind, slot{})
	}
}

// ReserveBeyondQuota gives the Pod a local slot even if the local share is used up: the Pod may not burst and goes to a
// local node in any case. It may be called repeatedly.
func (l *Ledger) ReserveBeyondQuota(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.pods[uid]; ok && e.active && e.node == "" {
		l.leave(e)
		l.change(e, func() { e.local.reserved, e.local.confirmed = true, true })
	}
}

// take takes a slot from a Pod and leaves what is left of it.
func (l *Ledger) take(e *entry, kind Kind, left slot) {
	l.change(e, func() { *e.slot(kind) = left })
	if kind == CloudSlot {
		e.granted = policy.CloudUse{}
	}
}

// ResetConfirmed must be called when another extender may have given slots. Afterwards the slots that this process gave
// count like slots that were read from Pods.
func (l *Ledger) ResetConfirmed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.pods {
		e.local.confirmed, e.cloud.confirmed = false, false
	}
}

func (e *entry) slot(kind Kind) *slot {
	if kind == CloudSlot {
		return &e.cloud
	}
	return &e.local
}
