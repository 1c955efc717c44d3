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
	if !ok || !e.active || r.Quota != nil && !e.counted {
		return Gone, Slot{}
	}
	limits := l.billing.Limits(e.ref.Namespace)
	l.leaveLocalQueue(e)
	l.revokeUnconfirmed(e, r.Quota, limits)
	outcome, slot := l.choose(e, r, limits)
	if outcome == Limited && !(r.Quota == nil && r.LocalFits) {
		l.waitForCloud(e)
	} else {
		l.leaveCloudQueue(e)
	}
	l.requeueForCloud(e.account) // This Pod may have been requeued for room that it does not take.
	return outcome, slot
}

func (l *Ledger) choose(e *entry, r Request, limits policy.CloudLimits) (Outcome, Slot) {
	belowQuota := r.Quota != nil && l.revisions[e.revision].used < *r.Quota
	switch {
	case e.node != "": // The Pod is bound, and the scheduler does not know it yet.
		if l.nodes.IsVirtual(e.node) {
			return Cloud, Slot{}
		}
		return Local, Slot{}
	case r.Quota != nil && r.LocalFits && e.local.reserved:
		return Local, Slot{Kind: LocalSlot}
	case r.LocalFits && belowQuota:
		l.change(e, func() { e.local = slot{reserved: true} })
		return Local, Slot{Kind: LocalSlot, Fresh: true}
	case r.CloudFits:
		mayOverflow := r.Quota != nil && (e.local.reserved || belowQuota)
		if r.Quota != nil {
			l.requeueForLocal(l.revisions[e.revision]) // This Pod may have been requeued for a slot that it does not take.
		}
		if mayOverflow && r.PreemptFirst {
			return Preempt, Slot{}
		}
		slot, ok := l.reserveCloud(e, limits)
		switch {
		case !ok:
			if r.Quota != nil && !mayOverflow {
				l.waitForLocal(e, *r.Quota)
			}
			return Limited, Slot{}
		case mayOverflow:
			return Overflow, slot
		default:
			return Cloud, slot
		}
	case r.Quota != nil:
		l.waitForLocal(e, *r.Quota)
		return Wait, Slot{}
	default:
		return Wait, Slot{}
	}
}

// reserveCloud gives the Pod a cloud slot if the limits allow it.
func (l *Ledger) reserveCloud(e *entry, limits policy.CloudLimits) (s Slot, ok bool) {
	if limits.IsZero() {
		l.chargeCloud(e)
		return Slot{}, true
	}
	if !limits.Allow(e.account.used.Plus(missing(e))) && (!e.cloud.reserved || e.granted != e.use) {
		return Slot{}, false // A Pod that has a slot keeps it, unless the Pod has grown.
	}
	fresh := !e.cloud.reserved
	if fresh {
		l.change(e, func() { e.cloud = slot{reserved: true} })
	}
	e.granted = e.use
	return Slot{Kind: CloudSlot, Use: e.use, Fresh: fresh}, true
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

// revokeUnconfirmed takes back a slot beyond the quota or the limits that this process did not report to the scheduler.
// Such a slot was read from the Pod and was never reported: every later leader counts all reported slots before it
// gives more, so a slot beyond the quota was written too late, by an extender that no longer led. Or the write of the
// slot was slow, and other Pods were bound meanwhile without the extender.
func (l *Ledger) revokeUnconfirmed(e *entry, quota *int, limits policy.CloudLimits) {
	if e.node != "" {
		return
	}
	unconfirmed := func(s slot) bool { return s.reserved && !s.confirmed }
	if quota != nil && unconfirmed(e.local) && l.revisions[e.revision].used > *quota {
		l.take(e, LocalSlot, slot{revoked: true})
	}
	if unconfirmed(e.cloud) && !limits.Allow(e.account.used) {
		l.take(e, CloudSlot, slot{revoked: true})
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
