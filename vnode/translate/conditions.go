package translate

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// Reasons of conditions. Source: Kubernetes v1.36, pkg/kubelet/status/generate.go.
const (
	reasonNotReady     = "ContainersNotReady"
	reasonNotInit      = "ContainersNotInitialized"
	reasonPodCompleted = "PodCompleted"
	reasonPodFailed    = "PodFailed"
	reasonGatesNotSet  = "ReadinessGatesNotReady"
)

// conditions returns the conditions that a kubelet sets, computed from the containers. All other conditions of the Pod
// are kept. waits says that the containers wait for something that the status does not show, empty if they do not.
// Source: Kubernetes v1.36, pkg/kubelet/status/generate.go.
func conditions(pod *corev1.Pod, status *corev1.PodStatus, waits string, now metav1.Time) []corev1.PodCondition {
	list := slices.Clone(pod.Status.Conditions)
	if pending := resizePending(pod, status); pending != nil {
		list = setCondition(list, *pending, now)
	} else {
		list = slices.DeleteFunc(list, func(c corev1.PodCondition) bool { return c.Type == corev1.PodResizePending })
	}
	list = setCondition(list, initialized(pod, status, waits), now)
	containers := containersReady(status)
	list = setCondition(list, containers, now)
	return setCondition(list, ready(pod, list, containers), now)
}

// initialized returns the condition Initialized.
func initialized(pod *corev1.Pod, status *corev1.PodStatus, waits string) corev1.PodCondition {
	condition := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	if status.Phase == corev1.PodSucceeded {
		condition.Reason = reasonPodCompleted
		return condition
	}
	var missing []string
	keepRunning := sidecars(pod)
	for _, s := range status.InitContainerStatuses {
		done := s.State.Terminated != nil && s.State.Terminated.ExitCode == 0
		if keepRunning[s.Name] {
			done = s.Started != nil && *s.Started
		}
		if !done {
			missing = append(missing, s.Name)
		}
	}
	if waits == "" && len(missing) > 0 {
		waits = fmt.Sprintf("containers with incomplete status: %v", missing)
	}
	if waits != "" && !anyStarted(status.ContainerStatuses) {
		condition.Status, condition.Reason = corev1.ConditionFalse, reasonNotInit
		condition.Message = policy.Clip(waits, policy.MaxMessage)
	}
	return condition
}

// anyStarted reports whether any container has started. Then all init containers have completed, whatever their
// statuses say.
func anyStarted(statuses []corev1.ContainerStatus) bool {
	for _, s := range statuses {
		if s.State.Running != nil || s.State.Terminated != nil || s.RestartCount > 0 {
			return true
		}
	}
	return false
}

// containersReady returns the condition ContainersReady.
func containersReady(status *corev1.PodStatus) corev1.PodCondition {
	condition := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionTrue}
	var unready []string
	for _, s := range status.ContainerStatuses {
		if !s.Ready {
			unready = append(unready, s.Name)
		}
	}
	switch {
	case status.Phase == corev1.PodSucceeded:
		condition.Status, condition.Reason = corev1.ConditionFalse, reasonPodCompleted
	case status.Phase == corev1.PodFailed:
		condition.Status, condition.Reason = corev1.ConditionFalse, reasonPodFailed
	case len(unready) > 0:
		condition.Status, condition.Reason = corev1.ConditionFalse, reasonNotReady
		condition.Message = policy.Clip(fmt.Sprintf("containers with unready status: %v", unready), policy.MaxMessage)
	}
	return condition
}

// ready returns the condition Ready. It includes the readiness gates, which other controllers set in the cluster, not
// in the cloud.
func ready(pod *corev1.Pod, list []corev1.PodCondition, containers corev1.PodCondition) corev1.PodCondition {
	condition := containers
	condition.Type = corev1.PodReady
	if condition.Status != corev1.ConditionTrue {
		return condition
	}
	var unset []corev1.PodConditionType
	for _, gate := range pod.Spec.ReadinessGates {
		if found := findCondition(list, gate.ConditionType); found == nil || found.Status != corev1.ConditionTrue {
			unset = append(unset, gate.ConditionType)
		}
	}
	if len(unset) > 0 {
		condition.Status, condition.Reason = corev1.ConditionFalse, reasonGatesNotSet
		condition.Message = policy.Clip(fmt.Sprintf("readiness gates that are not true: %v", unset), policy.MaxMessage)
	}
	return condition
}

func findCondition(list []corev1.PodCondition, conditionType corev1.PodConditionType) *corev1.PodCondition {
	for i := range list {
		if list[i].Type == conditionType {
			return &list[i]
		}
	}
	return nil
}

// setCondition replaces or adds a condition. The transition time changes only with the status.
func setCondition(list []corev1.PodCondition, condition corev1.PodCondition, now metav1.Time) []corev1.PodCondition {
	old := findCondition(list, condition.Type)
	if old == nil {
		condition.LastTransitionTime = now
		return append(list, condition)
	}
	condition.LastProbeTime, condition.LastTransitionTime = old.LastProbeTime, old.LastTransitionTime
	if old.Status != condition.Status {
		condition.LastTransitionTime = now
	}
	if condition.ObservedGeneration == 0 {
		condition.ObservedGeneration = old.ObservedGeneration
	}
	*old = condition
	return list
}

// owned are the conditions that a virtual node sets. All others belong to other components.
var owned = []corev1.PodConditionType{
	corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady, corev1.PodResizePending,
}

// MergeConditions returns the conditions that a virtual node sets from wanted, and all others from current, which may
// have changed since wanted was computed. A virtual node adds DisruptionTarget, and never removes it.
func MergeConditions(current, wanted []corev1.PodCondition) []corev1.PodCondition {
	var merged []corev1.PodCondition
	for _, c := range current {
		if !slices.Contains(owned, c.Type) {
			merged = append(merged, c)
		}
	}
	for _, c := range wanted {
		isNew := c.Type == corev1.DisruptionTarget && findCondition(current, c.Type) == nil
		if isNew || slices.Contains(owned, c.Type) {
			merged = append(merged, c)
		}
	}
	return merged
}
