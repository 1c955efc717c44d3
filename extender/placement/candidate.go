package placement

import (
	"time"

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
	// deadline is when the Pod may burst, and waits says that it has not come: until then the Pod waits for room on
	// local nodes. The deadline is zero if the Pod need not wait.
	deadline time.Time
	waits    bool
	// preemptFirst forbids the Pod to burst for now (preemptsFirst).
	preemptFirst bool
	// preempting means that the answer lets the scheduler evict Pods, and does not place this one: the scheduler
	// filters it again.
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

// await sets when the Pod may burst. A template has not been created: it would be created now.
func (c *candidate) await(now time.Time) {
	if c.BurstAfter <= 0 || !allowsBoth(c.Decision) {
		return
	}
	c.deadline = c.BurstsAt(c.pod)
	if c.pod.CreationTimestamp.IsZero() {
		c.deadline = now.Add(c.BurstAfter).UTC()
	}
	c.waits = now.Before(c.deadline)
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
	// countedLocal: the Pod has shares and may not burst. It must count for the others in case the switch is turned on
	// while it is being bound.
	countedLocal
	// countedInCloud: the Pod may burst, and there is no limit.
	countedInCloud
	// aDeadline: the Pod waits until a time, at which the ledger requeues it. For that it must know the Pod.
	aDeadline
	// anOutcome: the ledger decides.
	anOutcome
)

func (c candidate) need() need {
	switch {
	case c.Placement == policy.PlacementLocalOnly:
		shared := policy.HasShares(c.pod.Annotations) || policy.HasShares(c.input.NamespaceAnnotations)
		if shared && c.fits.local && !c.preempting {
			return countedLocal
		}
		return nothing
	case c.Placement == policy.PlacementCloudOnly && !c.fits.virtual:
		return nothing
	case !c.Shares.IsZero():
		return anOutcome
	case c.waits && !c.fits.local && !c.preempting:
		return aDeadline
	case c.Placement == policy.PlacementLocalFirst && c.fits.local, c.waits, !c.fits.virtual:
		return nothing
	case !c.limits.IsZero():
		return anOutcome
	case c.preemptFirst:
		return nothing
	default:
		return countedInCloud
	}
}

// request is what the ledger decides about.
func (c candidate) request() ledger.Request {
	r := ledger.Request{
		UID: c.pod.UID, Shares: c.Shares, LocalFits: c.fits.local, CloudFits: c.fits.virtual,
		PreemptFirst: c.preemptFirst,
	}
	if c.waits {
		r.WaitUntil = c.deadline
	}
	return r
}

// choose returns the classes to which the Pod goes, of those that fit. outcome is that of the ledger, empty if the Pod
// does not need one.
func (c candidate) choose(outcome ledger.Outcome) (classes, policy.Reason) {
	reason := c.Reason
	if c.Placement == policy.PlacementCloudOnly {
		reason = policy.ReasonCloudOnly
	}
	switch {
	case c.Placement == policy.PlacementLocalOnly:
		return classes{local: c.fits.local}, policy.ReasonLocalOnly
	case c.Placement == policy.PlacementCloudOnly && !c.fits.virtual:
		return classes{}, reason
	case !c.Shares.IsZero():
		return c.chooseByShares(outcome, reason)
	case c.Placement == policy.PlacementLocalFirst && c.fits.local, c.waits && c.fits.local:
		return classes{local: true}, reason
	case c.waits:
		return classes{}, policy.ReasonBurstAfter
	}
	switch {
	case outcome == ledger.Preempt, outcome == "" && c.preemptFirst:
		return classes{}, policy.ReasonPreemptFirst
	case outcome == "", outcome == ledger.Cloud:
		return c.fits, reason
	case c.fits.local: // The limits do not allow the Pod now, or it is bound already.
		return classes{local: true}, reason
	default:
		return classes{}, policy.ReasonCloudLimits
	}
}

// chooseByShares is choose for a Pod with shares. reason is that of a Pod that goes where it wants.
func (c candidate) chooseByShares(outcome ledger.Outcome, reason policy.Reason) (classes, policy.Reason) {
	switch outcome {
	case ledger.Local:
		return classes{local: c.fits.local}, reason
	case ledger.Overflow:
		return classes{virtual: true}, reason
	case ledger.Cloud:
		if c.Placement == policy.PlacementCloudOnly {
			return classes{virtual: c.fits.virtual}, reason
		}
		return classes{virtual: c.fits.virtual}, policy.ReasonLocalQuota
	case ledger.Nowhere:
		return classes{}, reason
	case ledger.Preempt:
		return classes{}, policy.ReasonPreemptFirst
	case ledger.LocalMinimum:
		return classes{}, policy.ReasonLocalMin
	case ledger.BurstAfter:
		return classes{}, policy.ReasonBurstAfter
	case ledger.CloudMaximum:
		return classes{}, policy.ReasonCloudMax
	case ledger.Limited:
		return classes{}, policy.ReasonCloudLimits
	default:
		return classes{}, policy.ReasonLocalQuota
	}
}
