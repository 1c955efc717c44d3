package placement

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/extender/nodes"
	"github.com/spillway-k8s/spillway/policy"
)

// preemptFirst is the refusal of a Pod that could burst, so that the scheduler tries preemption at home first. It is also how the
// extender knows the Pod again: the scheduler writes it into the Pod's condition, which changes the Pod, and so asks again within
// milliseconds. Nothing has to be remembered here, and a restart forgets nothing.
const preemptFirst = policy.RefusalPrefix + string(policy.ReasonPreemptFirst) + ": no local node fits; Pods of lower priority at home are evicted before the Pod bursts"

// mayDoBoth tells whether the Pod may stay home and may burst.
func mayDoBoth(d policy.Decision) bool {
	return d.MayBurst() && d.Placement != policy.PlacementCloudOnly
}

// preemptsFirst tells whether the Pod must not burst yet, because the cloud comes last: preemption at home makes room for it now, or has not been tried
// although Pods of a lower priority are at home. A Pod for which it was tried in vain has the refusal in its condition and no
// nominated node.
func (p *Placement) preemptsFirst(pod *corev1.Pod, view nodes.View) bool {
	if nominated := pod.Status.NominatedNodeName; nominated != "" {
		return view[nominated] == nodes.Local
	}
	if pod.Spec.PreemptionPolicy != nil && *pod.Spec.PreemptionPolicy == corev1.PreemptNever {
		return false
	}
	if pod.Spec.SchedulingGroup != nil {
		return false // The scheduler may write another's refusal into its condition, and each try costs the whole group a backoff.
	}
	return !wasRefused(pod, preemptFirst) && p.ledger.HasLocalBelow(ledger.PriorityOf(pod))
}

// wasRefused tells whether the scheduler's last attempt ended with this refusal of ours.
func wasRefused(pod *corev1.Pod, refusal string) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled {
			return strings.Contains(condition.Message, refusal)
		}
	}
	return false
}
