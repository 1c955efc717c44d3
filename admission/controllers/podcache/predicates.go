package podcache

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// IsWaiting reports whether the scheduler has found no node for the Pod. It does not hold while preemption makes room
// for the Pod, nor if scheduling failed with an error (reason SchedulerError). It does not hold for the Pods of a
// DaemonSet either, because each of them waits for one particular node.
func IsWaiting(pod *corev1.Pod) bool {
	if pod.Spec.NodeName != "" || pod.DeletionTimestamp != nil || len(pod.Spec.SchedulingGates) > 0 ||
		pod.Status.Phase != corev1.PodPending || pod.Status.NominatedNodeName != "" ||
		isControlledBy(pod, "DaemonSet") {
		return false
	}
	scheduled := policy.PodCondition(pod, corev1.PodScheduled)
	return scheduled != nil && scheduled.Status == corev1.ConditionFalse &&
		scheduled.Reason == corev1.PodReasonUnschedulable
}

// IsMalformed reports whether an active Pod has a malformed key of its own. Keys have no effect on the Pods of a
// DaemonSet.
func IsMalformed(pod *corev1.Pod) bool {
	return policy.IsActive(pod) && !isControlledBy(pod, "DaemonSet") && policy.CheckKeys(pod) != nil
}

// HasGroupQuota reports whether an active Pod of a scheduling group has shares, or still has the condition that says
// that they are not kept.
func HasGroupQuota(pod *corev1.Pod) bool {
	if pod.Spec.SchedulingGroup == nil || !policy.IsActive(pod) {
		return false
	}
	return policy.HasShares(pod.Annotations) || policy.PodCondition(pod, policy.LocalReplicasCondition) != nil
}

// rankedKinds are the kinds whose controllers use the deletion cost of Pods. Sources: Kubernetes v1.36,
// pkg/controller/replicaset (which also runs ReplicationControllers); OpenKruise, "CloneSet", pod-deletion-cost.
var rankedKinds = []string{"ReplicaSet", "ReplicationController", "CloneSet"}

// IsUnranked reports whether the Pod needs a deletion cost if its node is a virtual one.
func IsUnranked(pod *corev1.Pod) bool {
	if _, ranked := pod.Annotations[policy.DeletionCostAnnotation]; ranked || pod.Spec.NodeName == "" {
		return false
	}
	owner := metav1.GetControllerOfNoCopy(pod)
	return owner != nil && slices.Contains(rankedKinds, owner.Kind) && policy.IsActive(pod)
}

func isControlledBy(pod *corev1.Pod, kind string) bool {
	owner := metav1.GetControllerOfNoCopy(pod)
	return owner != nil && owner.Kind == kind
}
