package placement

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/extender/nodes"
	"github.com/spillway-k8s/spillway/policy"
)

// preemptFirst refuses a Pod that could burst, so that the scheduler first tries preemption on local nodes. The
// extender also recognizes the Pod by this text: the scheduler writes it to the Pod's condition. That changes the Pod,
// so the scheduler retries it within milliseconds. The extender keeps no state of its own that a restart could lose.
const preemptFirst = policy.RefusalPrefix + string(policy.ReasonPreemptFirst) + ": no local node fits; " +
	"Pods of lower priority on local nodes are evicted before the Pod bursts"

// allowsBoth reports whether the Pod may run on local nodes and may burst.
func allowsBoth(d policy.Decision) bool {
	return d.MayBurst() && d.Placement != policy.PlacementCloudOnly
}

// preemptsFirst reports whether the Pod must not burst yet because the cloud comes last: preemption on a local node is
// in progress, or the scheduler has not tried it although Pods of a lower priority are on local nodes. If it was tried
// without success, the Pod has the refusal in its condition and no nominated node. A question about preemption without
// an answer looks the same to the scheduler, but was no try.
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
	tried := policy.RefusedWith(pod, preemptFirst) && !p.ledger.PreemptUndecided(pod.UID)
	return !tried && p.ledger.HasLocalBelow(ledger.PriorityOf(pod))
}
