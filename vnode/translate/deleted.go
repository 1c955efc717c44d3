package translate

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
)

// ReasonStatusUnknown is the reason of a container whose exit code is unknown. Source: Kubernetes v1.36,
// pkg/kubelet/container/runtime.go.
const ReasonStatusUnknown = "ContainerStatusUnknown"

// exitUnknown is the exit code of such a container, that of SIGKILL. The kubelet uses the same code.
const exitUnknown = 137

// IsTerminal reports whether a Pod has terminated.
func IsTerminal(phase corev1.PodPhase) bool {
	return phase == corev1.PodSucceeded || phase == corev1.PodFailed
}

// DeletedStatus returns the status of a Pod that is being deleted and whose cloud Pod is gone: every container that
// ran has terminated. last is the last known state of the cloud Pod, nil if there never was one. Known exit codes are
// kept. The arguments are not changed.
func DeletedStatus(pod *corev1.Pod, last *cci.Pod, nodeIP string, now metav1.Time) corev1.PodStatus {
	status := *pod.Status.DeepCopy()
	if last != nil && !IsTerminal(status.Phase) {
		status = Status(pod, last, nodeIP, now)
	}
	failed := end(status.InitContainerStatuses, sidecars(pod), now)
	failed = end(status.ContainerStatuses, nil, now) || failed
	if !IsTerminal(status.Phase) {
		status.Phase = corev1.PodSucceeded
		if failed || len(status.ContainerStatuses) == 0 {
			status.Phase = corev1.PodFailed
		}
	}
	status.ObservedGeneration = pod.Generation
	status.Conditions = conditions(pod, &status, "", now)
	return status
}

// LostStatus returns the status of a Pod whose cloud Pod is gone although the Pod was not deleted in the cluster. It
// is that of FailedStatus with the condition DisruptionTarget, as the kubelet sets it when it ends a Pod for reasons of
// the node: the podFailurePolicy of a Job can ignore such a failure.
func LostStatus(pod *corev1.Pod, last *cci.Pod, reason, message, nodeIP string, now metav1.Time) corev1.PodStatus {
	status := FailedStatus(pod, last, reason, message, nodeIP, now)
	status.Conditions = setCondition(status.Conditions, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonTerminationByKubelet,
		Message: policy.Clip(message, policy.MaxMessage), ObservedGeneration: pod.Generation,
	}, now)
	return status
}

// end marks running containers as terminated with an unknown exit code. It reports whether any container failed or
// never ran. Sidecars among init containers do not count.
func end(statuses []corev1.ContainerStatus, sidecars map[string]bool, now metav1.Time) (failed bool) {
	for i := range statuses {
		s := &statuses[i]
		s.Ready, s.Started = false, new(false)
		if s.State.Terminated == nil && (s.State.Running != nil || s.LastTerminationState.Terminated != nil) {
			s.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				ExitCode: exitUnknown, Reason: ReasonStatusUnknown, ContainerID: s.ContainerID,
				StartedAt: startOf(s.State), FinishedAt: now,
				Message: "the cloud Pod was gone before the exit code of the container was known",
			}}
		}
		ended := s.State.Terminated
		if !sidecars[s.Name] && (ended == nil || ended.ExitCode != 0) {
			failed = true
		}
	}
	return failed
}

func startOf(state corev1.ContainerState) metav1.Time {
	if state.Running == nil {
		return metav1.Time{}
	}
	return state.Running.StartedAt
}

// sidecars returns the names of the init containers that are sidecars. Their exit codes do not count.
func sidecars(pod *corev1.Pod) map[string]bool {
	found := map[string]bool{}
	for i := range pod.Spec.InitContainers {
		own := pod.Spec.InitContainers[i].RestartPolicy
		found[pod.Spec.InitContainers[i].Name] = own != nil && *own == corev1.ContainerRestartPolicyAlways
	}
	return found
}

// WaitingStatus returns the status of a Pod that has no cloud Pod yet. reason and message say what it waits for. The
// containers have the reason, which kubectl shows. The message is in one place only: a Pod can have hundreds of
// containers. The Pod is not changed.
func WaitingStatus(pod *corev1.Pod, reason, message, nodeIP string, now metav1.Time) corev1.PodStatus {
	status := *pod.Status.DeepCopy()
	status.ObservedGeneration = pod.Generation
	status.Phase, status.Reason = corev1.PodPending, reason
	status.Message = policy.Clip(message, policy.MaxMessage)
	status.HostIP, status.HostIPs = nodeIP, []corev1.HostIP{{IP: nodeIP}}
	status.InitContainerStatuses = containerStatuses(pod.Spec.InitContainers, nil, reason)
	status.ContainerStatuses = containerStatuses(pod.Spec.Containers, nil, reason)
	status.EphemeralContainerStatuses = debuggers(pod, now)
	status.Conditions = conditions(pod, &status, "", now)
	return status
}

// FailedStatus returns the status of a Pod that cannot have a cloud Pod, or has lost it. last is the last known state
// of the cloud Pod, nil if there never was one. The arguments are not changed.
func FailedStatus(pod *corev1.Pod, last *cci.Pod, reason, message, nodeIP string, now metav1.Time) corev1.PodStatus {
	status := DeletedStatus(pod, last, nodeIP, now)
	status.Phase, status.Reason = corev1.PodFailed, reason
	status.Message = policy.Clip(message, policy.MaxMessage)
	status.Conditions = conditions(pod, &status, "", now)
	return status
}
