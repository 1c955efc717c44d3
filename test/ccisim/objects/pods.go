package objects

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Names that the service writes into Pods and other objects, and that more than one package needs.
const (
	PodFinalizer = "billing.kubernetes.io/podbilling-finalizer"
	// PodScheduler is the scheduler of every Pod that has a node.
	PodScheduler = "volcano"

	AnnotationTenant    = "tenant.cci.io/tenant-id"
	AnnotationNetStatus = "cni.yangtse.io/network-status"
	AnnotationVMNetwork = "networking.cci.io/vm-network-info"
	AnnotationGroupName = "scheduling.k8s.io/group-name"
	LabelVM             = "scheduling.cci.io/vmid"
)

// ProcessImage is the image of containers that are real processes of this machine, if the configuration allows
// processes: the command and arguments of the container run in a directory of its Pod. Any tag is accepted.
const ProcessImage = "ccisim/process"

// IsProcessImage reports whether an image is ProcessImage, with or without a tag.
func IsProcessImage(image string) bool {
	return image == ProcessImage || strings.HasPrefix(image, ProcessImage+":")
}

// AllContainers returns the init containers, then the other containers.
func AllContainers(pod *Pod) []*corev1.Container {
	var out []*corev1.Container
	for i := range pod.Spec.InitContainers {
		out = append(out, &pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		out = append(out, &pod.Spec.Containers[i])
	}
	return out
}

// ContainerStatus returns the status of a container or init container, or nil if there is none.
func ContainerStatus(pod *Pod, name string) *corev1.ContainerStatus {
	for _, statuses := range [][]corev1.ContainerStatus{
		pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses,
	} {
		for i := range statuses {
			if statuses[i].Name == name {
				return &statuses[i]
			}
		}
	}
	return nil
}

// IsSidecar reports whether an init container is a native sidecar.
func IsSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// IsFinished reports whether a Pod has succeeded or failed.
func IsFinished(pod *Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}
