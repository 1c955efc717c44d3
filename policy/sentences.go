package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Message is what users read about a Pod, in conditions, Events, statuses and "kubectl spillway why": the same words
// everywhere. docs/reference/reasons.md explains each code.
type Message struct {
	Code Reason `json:"code"`
	// Sentence says why, and what would change it. It is constant as long as nothing changes that users can act on: the
	// scheduler retries a Pod whose condition changes (docs/decisions/constant-refusals.md). It contains no counts.
	Sentence string `json:"sentence"`
}

// String returns the code and the sentence.
func (m Message) String() string { return string(m.Code) + ": " + m.Sentence }

// Refusal returns the message as the extender returns it to the scheduler, which writes it into the condition of the
// Pod.
func (m Message) Refusal() string { return RefusalPrefix + m.String() }

// Says returns the message of a decision.
func (d Decision) Says() Message { return Message{d.Reason, d.Message} }

// VirtualNodesOut says why no virtual node takes a Pod. It is one of four texts.
type VirtualNodesOut string

const (
	// NoVirtualNode: the cluster has none.
	NoVirtualNode VirtualNodesOut = "the cluster has no virtual node"
	// NotTolerated: the Pod does not tolerate their taint.
	NotTolerated VirtualNodesOut = "the Pod does not tolerate the taint " + ProviderTaintKey + " of virtual nodes"
	// AllLocked: the cloud is sold out.
	AllLocked VirtualNodesOut = "the cloud is sold out: every virtual node is locked"
	// FilteredOut: filters of kube-scheduler exclude them. It writes the reasons into the condition itself.
	FilteredOut VirtualNodesOut = "kube-scheduler's filters exclude every virtual node: the condition PodScheduled " +
		"has their reasons"
)

// QuotaUsedUp begins the sentence of LocalQuotaReached. It also says why a replica is in the cloud. It names what
// limits the replicas on local nodes. Of a number and a percentage it names both, because which of them is less changes
// with the number of replicas.
func QuotaUsedUp(s Shares) string {
	limit := LocalReplicasAnnotation
	switch quota, most := s.LocalReplicas, s.LocalMax; {
	case most.Set && !quota.Set:
		limit = LocalMaxAnnotation
	case most.Set && most.Percent != quota.Percent:
		limit += " or " + LocalMaxAnnotation
	}
	return "this revision has its " + limit + " on local nodes"
}

// LocalQuotaReached is for a Pod whose revision has all its local replicas.
func LocalQuotaReached(s Shares, virtual VirtualNodesOut) Message {
	return Message{ReasonLocalQuota, QuotaUsedUp(s) + ", and " + string(virtual) +
		"; the scheduler retries the Pod when a local replica ends or a virtual node changes"}
}

// PreemptFirst is for a Pod that bursts only after the scheduler has tried preemption on local nodes.
func PreemptFirst() Message {
	return Message{ReasonPreemptFirst, "no local node fits; Pods of lower priority on local nodes are evicted before " +
		"the Pod bursts"}
}

// LocalMinimum is for a Pod that must not burst, because too few replicas of its revision are on local nodes.
func LocalMinimum() Message {
	return Message{ReasonLocalMin, "no local node fits, and too few replicas of this revision are on local nodes " +
		"(" + LocalMinAnnotation + "), so the Pod does not burst; the scheduler retries it when local nodes change " +
		"or another replica takes its place there"}
}

// BurstAfter is for a Pod that may burst at a later time. It names that time and not what is left of it, which changes.
func BurstAfter(at time.Time) Message {
	return Message{ReasonBurstAfter, fmt.Sprintf("no local node fits; the Pod waits for room there until %s (%s, or "+
		"the default of the cluster), and may burst then", at.UTC().Format(time.RFC3339), BurstAfterAnnotation)}
}

// CloudMaximumReached is for a Pod of a revision that has all its replicas in the cloud that it may have.
func CloudMaximumReached() Message {
	return Message{ReasonCloudMax, "this revision has as many replicas in the cloud as it may have (" +
		CloudMaxAnnotation + "), and no local node may take the Pod; the scheduler retries it when a replica ends or " +
		"the shares change"}
}

// CloudLimitsReached is for a Pod for which the limits of its namespace leave no room. It names no limit: it stays as
// it is when the limits change and leave no room still, because a retry of all Pods that wait would only write other
// figures.
func (p *Policy) CloudLimitsReached(pod *corev1.Pod) Message {
	size := "its size"
	if use, err := p.CloudUse(pod); err == nil {
		resources := use.Resources()
		size = fmt.Sprintf("the %s vCPU and %s of memory that it is billed as", resources.Cpu(), resources.Memory())
	}
	return Message{ReasonCloudLimits, fmt.Sprintf("what namespace %s may use in the cloud (its annotation %s, or the "+
		"default of the cluster) leaves no room for this Pod; it is tried again when a Pod of the namespace ends "+
		"there or the limits change; if the limits are less than %s, request less or ask an administrator of the "+
		"cluster for more", pod.Namespace, CloudLimitsAnnotation, size)}
}

// CloudOnly is for a Pod that may run in the cloud only, where it finds no node.
func CloudOnly(d Decision, virtual VirtualNodesOut) Message {
	return Message{ReasonCloudOnly, d.Message + ", and " + string(virtual)}
}

// NoNode is for a Pod that may run anywhere and finds no node.
func NoNode(d Decision, virtual VirtualNodesOut) Message {
	return Message{d.Reason, d.Message + "; no local node passes kube-scheduler's filters, and " + string(virtual)}
}

// Refusals returns every message with which the extender can refuse a Pod for which policy has made a decision.
func (p *Policy) Refusals(pod *corev1.Pod, d Decision) []Message {
	found := []Message{
		d.Says(), PreemptFirst(), p.CloudLimitsReached(pod), LocalMinimum(), BurstAfter(d.BurstsAt(pod)),
		CloudMaximumReached(),
	}
	for _, virtual := range []VirtualNodesOut{NoVirtualNode, NotTolerated, AllLocked, FilteredOut} {
		found = append(found, LocalQuotaReached(d.Shares, virtual), CloudOnly(d, virtual), NoNode(d, virtual))
	}
	// A message may begin with another one.
	slices.SortStableFunc(found, func(a, b Message) int { return len(b.Sentence) - len(a.Sentence) })
	return found
}

// The causes of NotCounted.
const (
	// NeverCounted: the Pod waits, and the scheduler does not call the extender for it. The webhook adds the request to
	// Pods of controllers and to those with a burst label.
	NeverCounted = "it was created before the limits or without the webhook, or has no controller; recreate it, in " +
		"the last case with the label " + BurstLabel + "=localPrefer"
	// BoundUncounted: the Pod is on a virtual node.
	BoundUncounted = "it was bound before the namespace had limits, or without the scheduler"
)

// NotCounted is for a Pod of a namespace with limits that the extender has not counted.
func NotCounted(cause string) Message {
	return Message{ReasonNotCounted, "the namespace has limits (" + CloudLimitsAnnotation + "), and the extender has " +
		"not counted this Pod: " + cause}
}

// NotCountedShares is for a Pod whose shares need the extender, which is not called for it.
func NotCountedShares() Message {
	return Message{ReasonNotCounted, "the extender is not called for this Pod, so nothing counts it for " +
		LocalMinAnnotation + " and " + CloudMaxAnnotation + ", and it stays on local nodes: it was created before " +
		"these annotations or without the webhook, or has no controller; recreate it, in the last case with the " +
		"label " + BurstLabel + "=localPrefer"}
}

// Outgrown returns the cause of NotCounted for a Pod that needs a larger size than its slot has.
func Outgrown(slot, needs fmt.Stringer) string {
	return fmt.Sprintf("it was counted with size %s, was changed later, and needs %s", slot, needs)
}

// KeptByAffinity is what keeps a Pod on local nodes to which the webhook has added node affinity against virtual nodes,
// and what the user can do.
const KeptByAffinity = "its node affinity keeps it on local nodes: the webhook adds that affinity to Pods that " +
	"tolerate every taint and may not burst at creation; delete the Pod so that it is recreated"

// KeptLocal is for a Pod that may burst now, and could not when it was created.
func KeptLocal() Message { return Message{ReasonKeptLocal, "the Pod may burst, but " + KeptByAffinity} }

// WebhookMissed is for a managed Pod that the webhook has not prepared.
func WebhookMissed() Message {
	return Message{ReasonWebhookMissed, "the webhook was not available when the Pod was created, so the scheduler " +
		"places the Pod by stock rules (it does not call the extender, and there is no node affinity for enforce): " +
		"delete the Pod so that it is recreated"}
}

// BurstAllowed is for a Pod that gets the toleration of virtual nodes.
func BurstAllowed(d Decision) Message {
	return Message{ReasonBurstAllowed, "no local node fits, and virtual nodes may take the Pod now: " + d.Message}
}

// Malformed is for a Pod with malformed keys. off reports whether they keep it off virtual nodes, inCloud whether it is
// on one already.
func Malformed(errs []error, off, inCloud bool) Message {
	var sentences []string
	for _, err := range errs {
		sentences = append(sentences, strings.Split(err.Error(), "\n")...) // Joined errors have a line each.
	}
	effect := "; this is ignored, because it does not affect where the Pod runs"
	switch {
	case off && inCloud:
		effect = "; the Pod stays in the cloud; unless this is corrected, it is treated as off when it is created again"
	case off:
		effect = "; until this is corrected, the Pod is treated as off and does not burst"
	}
	return Message{ReasonInvalid, Summary(sentences) + effect}
}

// SoldOut is for a Pod on a virtual node for which the cloud has no capacity.
func SoldOut() Message { return Message{ReasonSoldOut, "the Pod waits until the cloud has capacity"} }
