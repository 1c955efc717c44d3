package translate

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

// Reasons in a Pod's status.
const (
	// ReasonStopped: the cloud has stopped the Pod, neither ended nor deleted it.
	ReasonStopped = "CloudPodStopped"
	// reasonCreating and reasonInitializing: the container waits for its image, or for init containers. They are the kubelet's words.
	reasonCreating     = "ContainerCreating"
	reasonInitializing = "PodInitializing"
)

// Status is the status of a Pod whose cloud Pod is known. It keeps what others write into a Pod's status: the scheduler's condition, those
// of readiness gates. The Pod and the cloud Pod are not changed. now is written where something changes.
func Status(pod *corev1.Pod, cloud *cci.Pod, nodeIP string, now metav1.Time) corev1.PodStatus {
	status := *pod.Status.DeepCopy()
	status.ObservedGeneration = pod.Generation
	status.Phase = phase(pod.Status.Phase, cloud.Status.Phase)
	status.Reason, status.Message = cloud.Status.Reason, cloud.Status.Message
	if cloud.Status.Phase == cci.PodStopped {
		status.Reason = ReasonStopped
		status.Message = "the cloud has stopped this Pod: it is neither running nor ended. See the account's state in the console"
	}
	status.HostIP, status.HostIPs = nodeIP, []corev1.HostIP{{IP: nodeIP}}
	status.PodIP, status.PodIPs = addresses(&cloud.Status)
	if cloud.Status.StartTime != nil && status.StartTime == nil {
		status.StartTime = cloud.Status.StartTime
	}
	status.InitContainerStatuses = containerStatuses(pod.Spec.InitContainers, cloud.Status.InitContainerStatuses, reasonInitializing)
	waiting := reasonCreating
	if len(pod.Spec.InitContainers) > 0 {
		waiting = reasonInitializing
	}
	status.ContainerStatuses = containerStatuses(pod.Spec.Containers, cloud.Status.ContainerStatuses, waiting)
	if cloud.Status.Phase == cci.PodStopped {
		unready(status.ContainerStatuses)
	}
	status.Conditions = conditions(pod, &status, now)
	return status
}

// phase is the cloud's, where Kubernetes has it. Unknown and Stopped say nothing about an end: the Pod keeps the phase that it had.
func phase(had, cloud corev1.PodPhase) corev1.PodPhase {
	switch cloud {
	case corev1.PodPending, corev1.PodRunning, corev1.PodSucceeded, corev1.PodFailed:
		return cloud
	}
	if had == "" {
		return corev1.PodPending
	}
	return had
}

func addresses(status *corev1.PodStatus) (string, []corev1.PodIP) {
	if len(status.PodIPs) > 0 {
		return status.PodIPs[0].IP, status.PodIPs
	}
	if status.PodIP == "" {
		return "", nil
	}
	return status.PodIP, []corev1.PodIP{{IP: status.PodIP}}
}

// containerStatuses are in the order of the spec, one for each container: what the cloud does not report yet waits, what it
// reports beyond the spec is its own.
func containerStatuses(containers []corev1.Container, cloud []corev1.ContainerStatus, waiting string) []corev1.ContainerStatus {
	var statuses []corev1.ContainerStatus
	for i := range containers {
		status := corev1.ContainerStatus{
			Name: containers[i].Name, Image: containers[i].Image, Started: new(false),
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: waiting}},
		}
		for j := range cloud {
			if cloud[j].Name == containers[i].Name {
				status = *cloud[j].DeepCopy()
			}
		}
		statuses = append(statuses, status)
	}
	return statuses
}

func unready(statuses []corev1.ContainerStatus) {
	for i := range statuses {
		statuses[i].Ready = false
	}
}
