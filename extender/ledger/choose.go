package ledger

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// situation is what the outcome for a Pod depends on, apart from the request. It is a copy: changing it changes nothing
// in the ledger.
type situation struct {
	bound, virtual bool // bound at all, and to a virtual node
	local, cloud   slot
	// use and granted are those of the Pod (entry).
	use, granted policy.CloudUse
	// localUsed are the slots of the Pod's revision that are used, and cloudUsed is what the Pods of its namespace use in
	// the cloud. Both include the slots of the Pod.
	localUsed int
	cloudUsed policy.CloudUse
	limits    policy.CloudLimits
}

// situationOf returns the situation of a Pod of the ledger.
func (l *Ledger) situationOf(e *entry) situation {
	s := situation{
		bound: e.node != "", virtual: e.node != "" && l.nodes.IsVirtual(e.node), local: e.local, cloud: e.cloud,
		use: e.use, granted: e.granted, cloudUsed: e.account.used, limits: l.billing.Limits(e.ref.Namespace),
	}
	if rev := l.revisions[e.revision]; rev != nil {
		s.localUsed = rev.used()
	}
	return s
}

// situationOfNew returns the situation of a Pod that the ledger does not have: it holds nothing.
func (l *Ledger) situationOfNew(pod *corev1.Pod) situation {
	s := situation{use: l.billing.Use(pod), limits: l.billing.Limits(pod.Namespace)}
	if rev := l.revisions[policy.RevisionOf(pod)]; rev != nil {
		s.localUsed = rev.used()
	}
	if a := l.accounts[pod.Namespace]; a != nil {
		s.cloudUsed = a.used
	}
	return s
}

// revoked returns the situation without the slots beyond the quota or the limits that this process did not report to
// the scheduler, and which these are. Such a slot was read from the Pod and was never reported: every later leader
// counts all reported slots before it gives more, so a slot beyond the quota was written too late, by an extender that
// no longer led. Or the write of the slot was slow, and other Pods were bound meanwhile without the extender.
func (s situation) revoked(quota *int) (after situation, kinds []Kind) {
	if s.bound {
		return s, nil
	}
	if quota != nil && s.local.unconfirmed() && s.localUsed > *quota {
		s.local, kinds = slot{revoked: true}, append(kinds, LocalSlot)
		s.localUsed--
	}
	if s.cloud.unconfirmed() && !s.limits.Allow(s.cloudUsed) {
		s.cloud, kinds = slot{revoked: true}, append(kinds, CloudSlot)
		s.cloudUsed, s.granted = s.cloudUsed.Minus(s.use), policy.CloudUse{}
	}
	return s, kinds
}

func (s slot) unconfirmed() bool { return s.reserved && !s.confirmed }

// outcome decides. It is the only place that does, for Reserve and for Sight.Outcome.
func (s situation) outcome(r Request) Outcome {
	within := s.withinQuota(r.Quota)
	switch {
	case s.virtual: // The Pod is bound, and the scheduler does not know it yet.
		return Cloud
	case s.bound, within && r.LocalFits:
		return Local
	case !r.CloudFits:
		return Wait
	case within && r.PreemptFirst:
		return Preempt
	case !s.withinLimits():
		return Limited
	case within:
		return Overflow
	}
	return Cloud
}

// withinQuota reports whether the Pod has a local slot or one is free for it.
func (s situation) withinQuota(quota *int) bool {
	return quota != nil && (s.local.reserved || s.localUsed < *quota)
}

// withinLimits reports whether the limits of the namespace allow the Pod in the cloud. A Pod that has a slot keeps it,
// unless the Pod has grown.
func (s situation) withinLimits() bool {
	keeps := s.cloud.reserved && s.granted == s.use
	return keeps || s.limits.Allow(s.cloudUsed.Plus(s.cloud.missing(s.use)))
}
