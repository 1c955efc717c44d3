package policy

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// IsActive reports whether the Pod counts as a replica: it is not terminating and has neither succeeded nor failed.
func IsActive(pod *corev1.Pod) bool { return pod.DeletionTimestamp == nil && !HasEnded(pod) }

// HasEnded reports whether the Pod has succeeded or failed: all its containers have terminated. A terminating Pod has
// not ended yet.
func HasEnded(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// HoldsLocalSlot reports whether an active Pod holds a slot of its local quota: it is on a local node, or it has the
// slot and is not bound yet.
func HoldsLocalSlot(pod *corev1.Pod, onVirtualNode bool) bool {
	if pod.Spec.NodeName != "" {
		return !onVirtualNode
	}
	return pod.UID != "" && pod.Annotations[LocalSlotAnnotation] == string(pod.UID)
}

// PodCondition returns the condition of a type, or nil if the Pod does not have it. The condition is part of the Pod:
// do not change it.
func PodCondition(pod *corev1.Pod, conditionType corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == conditionType {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// RefusedByExtender reports whether the last scheduling attempt ended with a refusal by an extender of Spillway. All
// refusals begin with RefusalPrefix.
func RefusedByExtender(pod *corev1.Pod) bool { return RefusedWith(pod, RefusalPrefix) }

// RefusedWith reports whether the last scheduling attempt ended with a message that contains the given refusal. The
// scheduler writes the messages of extenders into the condition PodScheduled.
func RefusedWith(pod *corev1.Pod, refusal string) bool {
	scheduled := PodCondition(pod, corev1.PodScheduled)
	return scheduled != nil && scheduled.Status == corev1.ConditionFalse && strings.Contains(scheduled.Message, refusal)
}
