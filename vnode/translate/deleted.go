package translate

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	failed := end(status.InitContainerStatuses, pod.Spec.InitContainers, now)
	failed = end(status.ContainerStatuses, nil, now) || failed
	if !IsTerminal(status.Phase) {
		status.Phase = corev1.PodSucceeded
		if failed || len(status.ContainerStatuses) == 0 {
			status.Phase = corev1.PodFailed
		}
	}
	status.ObservedGeneration = pod.Generation
	status.Conditions = conditions(pod, &status, now)
	return status
}

// end marks running containers as terminated with an unknown exit code. It reports whether any container failed or
// never ran. Sidecars among init containers do not count.
func end(statuses []corev1.ContainerStatus, sidecars []corev1.Container, now metav1.Time) (failed bool) {
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
		if !isSidecar(sidecars, s.Name) && (ended == nil || ended.ExitCode != 0) {
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

// isSidecar reports whether the init container of that name is a sidecar. Its exit code does not count.
func isSidecar(containers []corev1.Container, name string) bool {
	for i := range containers {
		policy := containers[i].RestartPolicy
		if containers[i].Name == name {
			return policy != nil && *policy == corev1.ContainerRestartPolicyAlways
		}
	}
	return false
}

// WaitingStatus returns the status of a Pod that has no cloud Pod yet. reason and message say what it waits for. The
// Pod is not changed.
func WaitingStatus(pod *corev1.Pod, reason, message, nodeIP string, now metav1.Time) corev1.PodStatus {
	status := *pod.Status.DeepCopy()
	status.ObservedGeneration = pod.Generation
	status.Phase, status.Reason, status.Message = corev1.PodPending, reason, message
	status.HostIP, status.HostIPs = nodeIP, []corev1.HostIP{{IP: nodeIP}}
	status.InitContainerStatuses = waitingStatuses(pod.Spec.InitContainers, reason, message)
	status.ContainerStatuses = waitingStatuses(pod.Spec.Containers, reason, message)
	status.Conditions = conditions(pod, &status, now)
	return status
}

func waitingStatuses(containers []corev1.Container, reason, message string) []corev1.ContainerStatus {
	statuses := containerStatuses(containers, nil, reason)
	for i := range statuses {
		statuses[i].State.Waiting.Message = message
	}
	return statuses
}

// FailedStatus returns the status of a Pod that cannot have a cloud Pod, or has lost it. last is the last known state
// of the cloud Pod, nil if there never was one. The arguments are not changed.
func FailedStatus(pod *corev1.Pod, last *cci.Pod, reason, message, nodeIP string, now metav1.Time) corev1.PodStatus {
	status := DeletedStatus(pod, last, nodeIP, now)
	status.Phase, status.Reason, status.Message = corev1.PodFailed, reason, message
	status.Conditions = conditions(pod, &status, now)
	return status
}
