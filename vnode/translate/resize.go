package translate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
)

// reportResources sets the resources of the containers in the status to those with which the cloud Pod was created, as
// the kubelet reports the resources that a container has. A resize of the Pod does not change them. previous are the
// statuses before.
func reportResources(
	statuses []corev1.ContainerStatus, containers []corev1.Container, previous []corev1.ContainerStatus,
) {
	for i := range statuses { // They are in the order of the containers.
		if known := statusOf(previous, statuses[i].Name); known != nil && known.Resources != nil {
			statuses[i].Resources = known.Resources
			continue
		}
		statuses[i].Resources = &corev1.ResourceRequirements{
			Limits: containers[i].Resources.Limits, Requests: containers[i].Resources.Requests,
		}
	}
}

// resizePending returns the condition of a Pod that was resized after its cloud Pod was created, nil if it was not. The
// kubelet sets the same one on a Pod for which its node is too small, and the scheduler then counts what the containers
// have, not what they should get. Source: Kubernetes v1.36, pkg/kubelet/allocation/allocation_manager.go.
func resizePending(pod *corev1.Pod, status *corev1.PodStatus) *corev1.PodCondition {
	resized := slices.Concat(
		resizedContainers(pod.Spec.InitContainers, status.InitContainerStatuses),
		resizedContainers(pod.Spec.Containers, status.ContainerStatuses))
	if len(resized) == 0 || IsTerminal(status.Phase) {
		return nil
	}
	return &corev1.PodCondition{
		Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: corev1.PodReasonInfeasible,
		ObservedGeneration: pod.Generation,
		Message: policy.Clip(fmt.Sprintf("the cloud cannot resize a Pod, so these containers keep their "+
			"resources: %s; create the Pod again to give it others", strings.Join(resized, ", ")), policy.MaxMessage),
	}
}

// resizedContainers returns the names of the containers that should have other resources than they have.
func resizedContainers(containers []corev1.Container, statuses []corev1.ContainerStatus) (resized []string) {
	for i := range containers {
		c := &containers[i]
		if status := statusOf(statuses, c.Name); status != nil && status.Resources != nil &&
			!(sameSize(c.Resources.Limits, status.Resources.Limits) &&
				sameSize(c.Resources.Requests, status.Resources.Requests)) {
			resized = append(resized, c.Name)
		}
	}
	return resized
}

// sameSize reports whether two lists have the same CPU and memory, the resources that a resize can change.
func sameSize(a, b corev1.ResourceList) bool {
	return !slices.ContainsFunc(sized, func(name corev1.ResourceName) bool {
		return sizes.Amount(a[name], name) != sizes.Amount(b[name], name)
	})
}

// statusOf returns the status of a container, nil if there is none.
func statusOf(statuses []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	i := slices.IndexFunc(statuses, func(s corev1.ContainerStatus) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &statuses[i]
}

// debuggers returns the statuses of the ephemeral containers. The cloud starts none of them: each has ended before it
// began, so that kubectl debug does not wait for it.
func debuggers(pod *corev1.Pod, now metav1.Time) []corev1.ContainerStatus {
	var statuses []corev1.ContainerStatus
	for i := range pod.Spec.EphemeralContainers {
		c := &pod.Spec.EphemeralContainers[i]
		known := statusOf(pod.Status.EphemeralContainerStatuses, c.Name)
		if known != nil && known.State.Terminated != nil {
			statuses = append(statuses, *known)
			continue
		}
		statuses = append(statuses, corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, Started: new(false),
			State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				ExitCode: exitCannotRun, Reason: ReasonCannotRun, Message: NoDebugging, StartedAt: now, FinishedAt: now,
			}},
		})
	}
	return statuses
}

const (
	// ReasonCannotRun is the reason of an ephemeral container, and exitCannotRun its exit code. Source: Kubernetes
	// v1.36, pkg/kubelet/kuberuntime/kuberuntime_container.go; the exit code that container runtimes report.
	ReasonCannotRun = "ContainerCannotRun"
	exitCannotRun   = 128
	// NoDebugging says why an ephemeral container does not start.
	NoDebugging = "the cloud adds no containers to a running Pod: use kubectl exec, or kubectl debug with --copy-to, " +
		"which creates another Pod"
)
