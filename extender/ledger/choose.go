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
	// replicas are the active Pods of the Pod's revision, itself included.
	replicas int
	// localUsed are the local slots of the revision that are used, inCloud is how many of its replicas count towards
	// its cloud share, and cloudUsed is what the Pods of its namespace use in the cloud. All include the slots of the
	// Pod.
	localUsed, inCloud int
	cloudUsed          policy.CloudUse
	limits             policy.CloudLimits
	// claimed are the claims of the other Pods of the revision.
	claimed claimCount
}

// situationOf returns the situation of a Pod of the ledger.
func (l *Ledger) situationOf(e *entry) situation {
	s := situation{
		bound: e.node != "", virtual: e.node != "" && l.nodes.IsVirtual(e.node), local: e.local, cloud: e.cloud,
		use: e.use, granted: e.granted, cloudUsed: e.account.used, limits: l.billing.Limits(e.ref.Namespace),
	}
	s.count(e.revision)
	if e.claims != nil {
		s.claimed.add(e.claims.group, -1)
	}
	return s
}

// count sets what depends on the revision.
func (s *situation) count(rev *revision) {
	s.replicas, s.localUsed, s.inCloud = rev.active, rev.used(), rev.cloudUsed()
	s.claimed = rev.claims.count
}

// situationOfNew returns the situation of a Pod that the ledger does not have: it holds nothing, and is one replica
// more.
func (l *Ledger) situationOfNew(pod *corev1.Pod) situation {
	s := situation{use: l.billing.Use(pod), limits: l.billing.Limits(pod.Namespace)}
	if rev := l.revisions[policy.RevisionOf(pod)]; rev != nil {
		s.count(rev)
	}
	s.replicas++
	if a := l.accounts[pod.Namespace]; a != nil {
		s.cloudUsed = a.used
	}
	return s
}

// revoked returns the situation without the slots beyond the shares or the limits that this process did not report to
// the scheduler, and which these are. Such a slot was read from the Pod and was never reported: every later leader
// counts all reported slots before it gives more, so a slot beyond the shares was written too late, by an extender that
// no longer led. Or the write of the slot was slow, and other Pods were bound meanwhile without the extender. Or it is
// one more than is allowed since the revision has fewer replicas.
func (s situation) revoked(shares policy.Shares) (after situation, kinds []Kind) {
	if s.bound {
		return s, nil
	}
	if s.local.unconfirmed() && s.localUsed > shares.LocalCap(s.replicas) {
		s.local, kinds = slot{revoked: true}, append(kinds, LocalSlot)
		s.localUsed--
	}
	if s.cloud.unconfirmed() && (!s.limits.Allow(s.cloudUsed) || s.inCloud > shares.CloudCap(s.replicas)) {
		s.cloud, kinds = slot{revoked: true}, append(kinds, CloudSlot)
		s.cloudUsed, s.granted = s.cloudUsed.Minus(s.use), policy.CloudUse{}
		s.inCloud--
	}
	return s, kinds
}

func (s slot) unconfirmed() bool { return s.reserved && !s.confirmed }

// outcome decides. It is the only place that does, for Reserve and for Sight.Outcome.
//
// A Pod that waits for room on local nodes or cannot go to the cloud is not told to try preemption first: the scheduler
// tries it for every Pod that is refused, and a Pod whose reason changes with each attempt would be tried again and
// again.
func (s situation) outcome(r Request) Outcome {
	shared := !r.Shares.IsZero()
	within := shared && s.withinQuota(r.Shares)
	switch {
	case s.virtual: // The Pod is bound, and the scheduler does not know it yet.
		return Cloud
	case s.bound, within && r.LocalFits:
		return Local
	case within && s.rank(true) < r.Shares.LocalFloor(s.replicas):
		return LocalMinimum
	case within && r.MayWait() && s.rank(false) < r.Shares.LocalCap(s.replicas):
		return BurstAfter
	case within && !r.CloudFits:
		return Nowhere
	case !r.CloudFits:
		return Wait
	case !s.cloud.reserved && s.inCloud >= r.Shares.CloudCap(s.replicas):
		return CloudMaximum
	case !s.withinLimits():
		return Limited
	case r.PreemptFirst && (within || !shared):
		return Preempt
	case within:
		return Overflow
	}
	return Cloud
}

// withinQuota reports whether the Pod has a local slot or one is free for it.
func (s situation) withinQuota(shares policy.Shares) bool {
	return s.local.reserved || s.localUsed < shares.LocalCap(s.replicas)
}

// rank returns how many other replicas have a place on local nodes: those with a local slot and those that claim one.
// For the floor, only claims of the floor count: the claim of a Pod that may burst later must not make one burst that
// must not.
func (s situation) rank(floor bool) int {
	rank := s.localUsed + s.claimed.floor
	if !floor {
		rank += s.claimed.wait
	}
	if s.local.reserved {
		rank--
	}
	return rank
}

// withinLimits reports whether the limits of the namespace allow the Pod in the cloud. A Pod that has a slot keeps it,
// unless the Pod has grown.
func (s situation) withinLimits() bool {
	keeps := s.cloud.reserved && s.granted == s.use
	return keeps || s.limits.Allow(s.cloudUsed.Plus(s.cloud.missing(s.use)))
}
