package podlife

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

// summarize sets the phase and the conditions of the Pod from its containers.
func (r *podReconciler) summarize() {
	if phase := r.phase(); !objects.IsFinished(r.pod) && r.pod.Status.Phase != phase {
		r.pod.Status.Phase = phase
		r.changed = true
	}
	initialized := r.uninitialized() == ""
	r.condition(corev1.PodInitialized, initialized,
		"ContainersNotInitialized", "containers with incomplete status: ["+r.uninitialized()+"]")
	reason, message := "ContainersNotReady", "containers with unready status: ["+r.unready()+"]"
	ready := initialized && r.unready() == ""
	if r.pod.Status.Phase == corev1.PodSucceeded {
		ready, reason, message = false, "PodCompleted", ""
	}
	r.condition(corev1.ContainersReady, ready, reason, message)
	r.condition(corev1.PodReady, ready, reason, message)
}

// phase returns the phase as the kubelet sets it: Pending until all containers have started once, then Running until
// none will run again and the native sidecars have ended.
func (r *podReconciler) phase() corev1.PodPhase {
	if r.uninitialized() != "" {
		return corev1.PodPending
	}
	ended, failed := 0, 0
	for i := range r.pod.Spec.Containers {
		status := r.status(i)
		switch {
		case status == nil, status.State.Waiting != nil && status.LastTerminationState.Terminated == nil:
			return corev1.PodPending
		case status.State.Terminated != nil && !r.restarts(&r.pod.Spec.Containers[i], status):
			ended++
			if status.State.Terminated.ExitCode != 0 {
				failed++
			}
		}
	}
	switch {
	case ended < len(r.pod.Spec.Containers), r.hasSidecar():
		return corev1.PodRunning
	case failed > 0:
		return corev1.PodFailed
	default:
		return corev1.PodSucceeded
	}
}

// hasSidecar reports whether a native sidecar runs.
func (r *podReconciler) hasSidecar() bool {
	for i := range r.pod.Spec.InitContainers {
		status := r.initStatus(i)
		if objects.IsSidecar(&r.pod.Spec.InitContainers[i]) && status != nil && status.State.Running != nil {
			return true
		}
	}
	return false
}

// uninitialized returns the names of the init containers that have not succeeded, and of the sidecars whose startup
// probes have not succeeded. There are none after the other containers have started.
func (r *podReconciler) uninitialized() string {
	if r.anyStarted() {
		return ""
	}
	var names []string
	for i := range r.pod.Spec.InitContainers {
		c, status := &r.pod.Spec.InitContainers[i], r.initStatus(i)
		done := status != nil && status.State.Terminated != nil && status.State.Terminated.ExitCode == 0
		if objects.IsSidecar(c) {
			done = status != nil && hasStarted(status)
		}
		if !done {
			names = append(names, c.Name)
		}
	}
	return strings.Join(names, " ")
}

// unready returns the names of the containers and sidecars that are not ready.
func (r *podReconciler) unready() string {
	var names []string
	for i := range r.pod.Spec.InitContainers {
		if status := r.initStatus(i); objects.IsSidecar(&r.pod.Spec.InitContainers[i]) && (status == nil || !status.Ready) {
			names = append(names, r.pod.Spec.InitContainers[i].Name)
		}
	}
	for i := range r.pod.Spec.Containers {
		if status := r.status(i); status == nil || !status.Ready {
			names = append(names, r.pod.Spec.Containers[i].Name)
		}
	}
	return strings.Join(names, " ")
}

// condition sets a condition. Reason and message apply only if it is false.
func (r *podReconciler) condition(kind corev1.PodConditionType, ok bool, reason, message string) {
	if ok {
		reason, message = "", ""
	}
	if r.setCondition(kind, ok, reason, message) {
		r.changed = true
	}
}

// setCondition sets a condition, and reports whether it changed.
func (r *podReconciler) setCondition(kind corev1.PodConditionType, ok bool, reason, message string) bool {
	status := corev1.ConditionFalse
	if ok {
		status = corev1.ConditionTrue
	}
	for i := range r.pod.Status.Conditions {
		old := &r.pod.Status.Conditions[i]
		if old.Type != kind {
			continue
		}
		if old.Status == status && old.Reason == reason && old.Message == message {
			return false
		}
		if old.Status != status {
			old.LastTransitionTime = metav1.NewTime(r.now)
		}
		old.Status, old.Reason, old.Message = status, reason, message
		return true
	}
	r.pod.Status.Conditions = append(r.pod.Status.Conditions, corev1.PodCondition{
		Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(r.now),
	})
	return true
}
