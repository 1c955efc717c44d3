package placement

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/extender/nodes"
	"github.com/spillway-k8s/spillway/policy"
)

// allowsBoth reports whether the Pod may run on local nodes and may burst.
func allowsBoth(d policy.Decision) bool {
	return d.MayBurst() && d.Placement != policy.PlacementCloudOnly
}

// preemptsFirst reports whether the Pod must not burst yet because the cloud comes last: preemption on a local node is
// in progress, or the scheduler has not tried it although Pods of a lower priority are on local nodes. If it was tried
// without success, the Pod has the refusal (policy.PreemptFirst) in its condition and no nominated node: the scheduler
// writes it there, which changes the Pod, so that it retries the Pod within milliseconds. The extender keeps no state
// of its own that a restart could lose. A question about preemption without an answer looks the same to the scheduler,
// but was no try.
func (p *Placement) preemptsFirst(pod *corev1.Pod, view nodes.View) bool {
	if nominated := pod.Status.NominatedNodeName; nominated != "" {
		return view[nominated] == nodes.Local
	}
	if pod.Spec.PreemptionPolicy != nil && *pod.Spec.PreemptionPolicy == corev1.PreemptNever {
		return false
	}
	if pod.Spec.SchedulingGroup != nil {
		// The scheduler may write the refusal of another Pod of the group to this Pod's condition, and each attempt costs the
		// whole group a backoff.
		return false
	}
	tried := policy.RefusedWith(pod, policy.PreemptFirst().Refusal()) && !p.ledger.PreemptUndecided(pod.UID)
	return !tried && p.ledger.HasLocalBelow(ledger.PriorityOf(pod))
}
