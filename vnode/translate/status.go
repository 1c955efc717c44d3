package translate

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

// Reasons in a Pod's status.
const (
	// ReasonStopped means that the cloud has stopped the Pod. It has neither terminated nor been deleted.
	ReasonStopped = "CloudPodStopped"
	// reasonCreating and reasonInitializing are the reasons of a container that waits for its image, or for init
	// containers. Source: Kubernetes v1.36, pkg/kubelet/kubelet_pods.go.
	reasonCreating     = "ContainerCreating"
	reasonInitializing = "PodInitializing"
)

// Status returns the status of a Pod that has a cloud Pod. It keeps what other components write to the status: the
// condition of the scheduler, and conditions of readiness gates. The arguments are not changed. now is the time of
// every transition.
func Status(pod *corev1.Pod, cloud *cci.Pod, nodeIP string, now metav1.Time) corev1.PodStatus {
	status := *pod.Status.DeepCopy()
	status.ObservedGeneration = pod.Generation
	status.Phase = phase(pod.Status.Phase, cloud.Status.Phase)
	bounded := cci.Bound(cloud.Status) // The client has bounded it already, but nothing here may depend on that.
	status.Reason, status.Message = bounded.Reason, bounded.Message
	if cloud.Status.Phase == cci.PodStopped {
		status.Reason = ReasonStopped
		status.Message = "the cloud has stopped this Pod, which is neither running nor terminated: check the state " +
			"of the account in the console"
	}
	status.HostIP, status.HostIPs = nodeIP, []corev1.HostIP{{IP: nodeIP}}
	status.PodIP, status.PodIPs = addresses(&bounded)
	status.InitContainerStatuses = containerStatuses(
		pod.Spec.InitContainers, bounded.InitContainerStatuses, reasonInitializing)
	waiting := reasonCreating
	if len(pod.Spec.InitContainers) > 0 {
		waiting = reasonInitializing
	}
	status.ContainerStatuses = containerStatuses(pod.Spec.Containers, bounded.ContainerStatuses, waiting)
	if cloud.Status.Phase == cci.PodStopped {
		unready(status.ContainerStatuses)
	}
	reportResources(status.InitContainerStatuses, pod.Spec.InitContainers, pod.Status.InitContainerStatuses)
	reportResources(status.ContainerStatuses, pod.Spec.Containers, pod.Status.ContainerStatuses)
	status.EphemeralContainerStatuses = debuggers(pod, now)
	waits := waitsForSidecar(pod, &cci.Pod{ObjectMeta: cloud.ObjectMeta, Status: bounded})
	status.Conditions = conditions(pod, &status, waits, now)
	return status
}

// phase returns the phase of the cloud Pod if Kubernetes has that phase. Unknown and Stopped do not prove that the Pod
// has terminated: the Pod keeps its previous phase.
func phase(previous, cloud corev1.PodPhase) corev1.PodPhase {
	switch cloud {
	case corev1.PodPending, corev1.PodRunning, corev1.PodSucceeded, corev1.PodFailed:
		return cloud
	}
	if previous == "" {
		return corev1.PodPending
	}
	return previous
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

// containerStatuses returns one status for each container, in the order of the spec. A container that the cloud does
// not report yet is waiting. Statuses of containers that are not in the spec are left out.
func containerStatuses(
	containers []corev1.Container, cloud []corev1.ContainerStatus, waiting string,
) []corev1.ContainerStatus {
	reported := map[string]*corev1.ContainerStatus{}
	for i := range cloud {
		reported[cloud[i].Name] = &cloud[i]
	}
	var statuses []corev1.ContainerStatus
	for i := range containers {
		if found := reported[containers[i].Name]; found != nil {
			status := *found.DeepCopy()
			status.Image = cmp.Or(status.Image, containers[i].Image) // The inventory may have dropped it.
			statuses = append(statuses, status)
			continue
		}
		statuses = append(statuses, corev1.ContainerStatus{
			Name: containers[i].Name, Image: containers[i].Image, Started: new(false),
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: waiting}},
		})
	}
	return statuses
}

func unready(statuses []corev1.ContainerStatus) {
	for i := range statuses {
		statuses[i].Ready = false
	}
}
