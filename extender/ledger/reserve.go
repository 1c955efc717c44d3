package ledger

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
)

// Outcome says to which nodes a Pod may go.
type Outcome string

const (
	// Local means that the Pod has a local slot. It must go to a local node.
	Local Outcome = "local"
	// Cloud means that the quota is used up, or that the Pod has none. The Pod must go to a virtual node.
	Cloud Outcome = "cloud"
	// Overflow means that a slot of the quota is free, but no local node fits. The Pod may go to a virtual node.
	Overflow Outcome = "overflow"
	// Preempt means that a slot of the quota is free, but no local node fits, and that the Pod must not go to a virtual
	// node yet (Request.PreemptFirst).
	Preempt Outcome = "preempt"
	// Wait means that the quota is used up and no virtual node fits. The Pod is requeued when a slot becomes free.
	Wait Outcome = "wait"
	// Limited means that the Pod would go to a virtual node, but that the limits of its namespace do not allow it now. The
	// Pod is requeued when they do, or when a slot of its quota becomes free.
	Limited Outcome = "limited"
	// Gone means that the Pod is deleted, terminating or finished.
	Gone Outcome = "gone"
)

// Kind is a kind of slot: the annotation that records it on the Pod.
type Kind string

const (
	// LocalSlot is a slot of the quota of a revision.
	LocalSlot Kind = policy.LocalSlotAnnotation
	// CloudSlot is a slot within the limits of a namespace.
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
	// Quota is how many replicas stay on local nodes; nil if the Pod has no quota.
	Quota *int
	// LocalFits and CloudFits are true if a local node and a virtual node can take the Pod now.
	LocalFits, CloudFits bool
	// PreemptFirst forbids Overflow, for Preempt.
	PreemptFirst bool
}

// Reserve decides between local nodes and virtual nodes, and counts the Pod there at the same moment. A Pod with a
// quota gets a local slot if one is free and a local node fits. It keeps the slot while a local node fits, no matter
// how often Reserve is called. Any other Pod gets a cloud slot if a virtual node fits and the limits of its namespace
// allow it.
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
	if !ok || !r.suits(e.active, e.counted) {
		return Gone, Slot{}
	}
	l.leaveLocalQueue(e)
	s, revoked := l.situationOf(e).revoked(r.Quota)
	for _, kind := range revoked {
		l.take(e, kind, slot{revoked: true})
	}
	outcome := s.outcome(r)
	slot := l.apply(e, s, r, outcome)
	if outcome == Limited && !(r.Quota == nil && r.LocalFits) {
		l.waitForCloud(e)
	} else {
		l.leaveCloudQueue(e)
	}
	l.requeueForCloud(e.account) // This Pod may have been requeued for room that it does not take.
	return outcome, slot
}

// suits reports whether a Pod can get what the request asks for. counted says that the Pod has a local quota.
func (r Request) suits(active, counted bool) bool { return active && (r.Quota == nil || counted) }

// apply gives an unbound Pod the slot of its outcome, or a place in the queue of its quota.
func (l *Ledger) apply(e *entry, s situation, r Request, outcome Outcome) Slot {
	if s.bound {
		return Slot{}
	}
	if r.Quota != nil && r.CloudFits && outcome != Local {
		l.requeueForLocal(l.revisions[e.revision]) // This Pod may have been requeued for a slot that it does not take.
	}
	switch outcome {
	case Local:
		fresh := !e.local.reserved
		if fresh {
			l.change(e, func() { e.local = slot{reserved: true} })
		}
		return Slot{Kind: LocalSlot, Fresh: fresh}
	case Cloud, Overflow:
		return l.reserveCloud(e, s.limits)
	case Wait, Limited:
		if r.Quota != nil && !(outcome == Limited && s.withinQuota(r.Quota)) {
			l.waitForLocal(e, *r.Quota)
		}
	case Preempt, Gone:
	}
	return Slot{}
}

// reserveCloud gives the Pod a cloud slot.
func (l *Ledger) reserveCloud(e *entry, limits policy.CloudLimits) Slot {
	if limits.IsZero() {
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

// chargeCloud gives the Pod a cloud slot that need not be durable. It counts only so that limits that are set later
// include what is being bound.
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

// ReserveBeyondQuota gives the Pod a local slot even if the quota is used up: the Pod may not burst and goes to a local
// node in any case. It may be called repeatedly.
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
