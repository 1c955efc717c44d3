package placement

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/extender/nodes"
	"github.com/spillway-k8s/spillway/policy"
)

// candidate is a Pod for which a class of nodes is chosen. Its methods are pure: they say what is needed of the ledger
// and what the outcome means. Filter and Preempt reserve it, and a dry run only looks.
type candidate struct {
	policy.Decision
	pod *corev1.Pod
	// input is what the decision depends on.
	input policy.Input
	// limits are those of the namespace. They matter only if the Pod may burst.
	limits policy.CloudLimits
	// local and virtual are the nodes of each class that the scheduler has sent.
	local, virtual []string
	// fits are the classes that can take the Pod now.
	fits classes
	// preemptFirst forbids the Pod to burst for now (preemptsFirst).
	preemptFirst bool
	// preempting means that the answer lets the scheduler evict Pods, and does not place this one: the scheduler filters
	// it again.
	preempting bool
}

// classes is a set of classes of nodes.
type classes struct{ local, virtual bool }

// offer sets the nodes that can take the Pod.
func (c *candidate) offer(p *Placement, view nodes.View, names []string) {
	c.local, c.virtual = view.Split(names)
	c.fit(classes{len(c.local) > 0, len(c.virtual) > 0})
	c.preemptFirst = allowsBoth(c.Decision) && !c.fits.local && p.preemptsFirst(c.pod, view)
}

// fit sets the classes that can take the Pod.
func (c *candidate) fit(fits classes) {
	fits.local = fits.local && c.Placement != policy.PlacementCloudOnly
	c.fits = fits
}

// need is what a Pod needs of the ledger before it is placed.
type need int

const (
	nothing need = iota
	// countedLocal: the Pod has a quota and may not burst. It must count for the others in case the switch is turned on
	// while it is being bound.
	countedLocal
	// countedInCloud: the Pod may burst, and there is no limit.
	countedInCloud
	// anOutcome: the ledger decides.
	anOutcome
)

func (c candidate) need() need {
	_, counted := c.pod.Annotations[policy.LocalReplicasAnnotation]
	switch {
	case c.Placement == policy.PlacementLocalOnly:
		if counted && c.fits.local && !c.preempting {
			return countedLocal
		}
		return nothing
	case c.Shares.LocalReplicas.Set:
		return anOutcome
	case c.Placement == policy.PlacementLocalFirst && c.fits.local, c.preemptFirst, !c.fits.virtual:
		return nothing
	case c.limits.IsZero():
		return countedInCloud
	default:
		return anOutcome
	}
}

// request is what the ledger decides about.
func (c candidate) request() ledger.Request {
	return ledger.Request{
		UID: c.pod.UID, Quota: quotaOf(c.Shares), LocalFits: c.fits.local, CloudFits: c.fits.virtual,
		PreemptFirst: c.preemptFirst,
	}
}

// quotaOf returns the local quota of a Pod, nil if it has none.
func quotaOf(s policy.Shares) *int {
	if !s.LocalReplicas.Set {
		return nil
	}
	return &s.LocalReplicas.Value
}

// choose returns the classes to which the Pod goes, of those that fit. outcome is that of the ledger, empty if the Pod
// does not need one.
func (c candidate) choose(outcome ledger.Outcome) (classes, policy.Reason) {
	reason := c.Reason
	switch {
	case c.Placement == policy.PlacementLocalOnly:
		return classes{local: c.fits.local}, policy.ReasonLocalOnly
	case c.Shares.LocalReplicas.Set:
		return c.chooseByQuota(outcome)
	case c.Placement == policy.PlacementLocalFirst && c.fits.local:
		return classes{local: true}, reason
	case c.preemptFirst:
		return classes{}, policy.ReasonPreemptFirst
	case c.Placement == policy.PlacementCloudOnly:
		reason = policy.ReasonCloudOnly
	}
	switch {
	case outcome == "", outcome == ledger.Cloud:
		return c.fits, reason
	case c.fits.local: // The limits do not allow the Pod now, or it is bound already.
		return classes{local: true}, reason
	default:
		return classes{}, policy.ReasonCloudLimits
	}
}

func (c candidate) chooseByQuota(outcome ledger.Outcome) (classes, policy.Reason) {
	switch outcome {
	case ledger.Local:
		return classes{local: c.fits.local}, c.Reason
	case ledger.Overflow:
		return classes{virtual: true}, c.Reason
	case ledger.Cloud:
		return classes{virtual: c.fits.virtual}, policy.ReasonLocalQuota
	case ledger.Preempt:
		return classes{}, policy.ReasonPreemptFirst
	case ledger.Limited:
		return classes{}, policy.ReasonCloudLimits
	default:
		return classes{}, policy.ReasonLocalQuota
	}
}
