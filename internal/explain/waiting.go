package explain

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/internal/evaluation"
	"github.com/spillway-k8s/spillway/internal/schedulers"
	"github.com/spillway-k8s/spillway/policy"
)

// WhyWaiting returns why a Pod that no node has taken waits, where the condition of the scheduler does not say so. ok
// is false if there is nothing to add. Admission records it in an Event, and the plugin says the same. s is nil if the
// schedulers are not known. quotaUsedUp is called if the number of local replicas is limited: it
// reports whether the revision of the Pod has as many.
func WhyWaiting(
	pod *corev1.Pod, r evaluation.Result, s *schedulers.Schedulers, quotaUsedUp func() bool,
) (message policy.Message, ok bool) {
	switch {
	case len(r.Errors) > 0 && r.Off:
		return policy.Message{}, false // policy.Malformed says that the Pod does not burst.
	case keptByAffinity(pod, r):
		return policy.KeptLocal(), true
	case !r.MayBurst():
		message := r.Says()
		if !r.Forbidden() && policy.AvoidsVirtualNodes(&pod.Spec) {
			message.Sentence += "; even then, " + policy.KeptByAffinity
		}
		return message, true
	case r.Limited && s != nil && !s.Call(pod.Spec.SchedulerName):
		return schedulers.OtherScheduler(pod.Spec.SchedulerName, !r.Shares.IsZero(), true), true
	case r.Limited && s != nil && !s.Place(&pod.Spec):
		return policy.NotCounted(policy.NeverCounted), true
	case r.NeedsExtender() && s != nil && !s.Call(pod.Spec.SchedulerName):
		return schedulers.CannotCount(pod.Spec.SchedulerName), true
	case r.NeedsExtender() && s != nil && !s.Place(&pod.Spec):
		return policy.NotCountedShares(), true
	case !policy.ToleratesProvider(&pod.Spec):
		return policy.Message{}, false // Admission lets the Pod burst.
	case policy.RefusedByExtender(pod) &&
		!policy.RefusedWith(pod, policy.RefusalPrefix+string(policy.ReasonLocalQuota)):
		return policy.Message{}, false // The condition has another reason, such as the limits of the namespace.
	case r.Shares.HasLocalCap() && quotaUsedUp():
		// If no node fits at all, the scheduler calls the extender about preemption only, and that response carries no
		// message.
		return policy.LocalQuotaReached(r.Shares, policy.FilteredOut), true
	}
	return policy.Message{}, false
}

// keptByAffinity reports whether only the node affinity of the Pod against virtual nodes keeps it local.
func keptByAffinity(pod *corev1.Pod, r evaluation.Result) bool {
	if !policy.AvoidsVirtualNodes(&pod.Spec) || !policy.ToleratesProvider(&pod.Spec) {
		return false
	}
	return r.MayBurst() || r.Reason == policy.ReasonNodeSelector
}

// NotPlaced returns why a scheduler places a managed Pod that may burst without the extender. ok is false if the
// extender places it.
func NotPlaced(pod *corev1.Pod, r evaluation.Result, s *schedulers.Schedulers) (message policy.Message, ok bool) {
	switch {
	case !r.Managed || s == nil || s.Place(&pod.Spec):
		return policy.Message{}, false
	case !s.Call(pod.Spec.SchedulerName):
		return schedulers.OtherScheduler(pod.Spec.SchedulerName, !r.Shares.IsZero(), r.Limited), true
	default:
		return policy.WebhookMissed(), true
	}
}
