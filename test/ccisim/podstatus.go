package ccisim

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// summarize computes the phase and the conditions from the containers.
func (l *podLife) summarize() {
	if phase := l.phase(); !isFinished(l.pod) && l.pod.Status.Phase != phase {
		l.pod.Status.Phase = phase
		l.changed = true
	}
	initialized := l.uninitialized() == ""
	l.condition(corev1.PodInitialized, initialized, "ContainersNotInitialized", "containers with incomplete status: ["+l.uninitialized()+"]")
	reason, message := "ContainersNotReady", "containers with unready status: ["+l.unready()+"]"
	ready := initialized && l.unready() == ""
	if l.pod.Status.Phase == corev1.PodSucceeded {
		ready, reason, message = false, "PodCompleted", ""
	}
	l.condition(corev1.ContainersReady, ready, reason, message)
	l.condition(corev1.PodReady, ready, reason, message)
}

// phase is the kubelet's: Pending until all containers have started once, then Running until none will run again.
func (l *podLife) phase() corev1.PodPhase {
	if l.uninitialized() != "" {
		return corev1.PodPending
	}
	ended, failed := 0, 0
	for i := range l.pod.Spec.Containers {
		status := l.status(i)
		switch {
		case status == nil, status.State.Waiting != nil && status.LastTerminationState.Terminated == nil:
			return corev1.PodPending
		case status.State.Terminated != nil && !l.restarts(&l.pod.Spec.Containers[i], status):
			ended++
			if status.State.Terminated.ExitCode != 0 {
				failed++
			}
		}
	}
	switch {
	case ended < len(l.pod.Spec.Containers):
		return corev1.PodRunning
	case failed > 0:
		return corev1.PodFailed
	default:
		return corev1.PodSucceeded
	}
}

// uninitialized names the init containers that are not done, and the sidecars that have not started.
func (l *podLife) uninitialized() string {
	var names []string
	for i := range l.pod.Spec.InitContainers {
		c, status := &l.pod.Spec.InitContainers[i], l.initStatus(i)
		done := status != nil && status.State.Terminated != nil && status.State.Terminated.ExitCode == 0
		if isSidecar(c) {
			done = status != nil && (status.State.Running != nil || status.State.Terminated != nil || status.LastTerminationState.Terminated != nil)
		}
		if !done {
			names = append(names, c.Name)
		}
	}
	return strings.Join(names, " ")
}

// unready names the containers, and sidecars, that are not ready.
func (l *podLife) unready() string {
	var names []string
	for i := range l.pod.Spec.InitContainers {
		if status := l.initStatus(i); isSidecar(&l.pod.Spec.InitContainers[i]) && (status == nil || !status.Ready) {
			names = append(names, l.pod.Spec.InitContainers[i].Name)
		}
	}
	for i := range l.pod.Spec.Containers {
		if status := l.status(i); status == nil || !status.Ready {
			names = append(names, l.pod.Spec.Containers[i].Name)
		}
	}
	return strings.Join(names, " ")
}

// condition sets a condition; reason and message are for false only.
func (l *podLife) condition(kind corev1.PodConditionType, ok bool, reason, message string) {
	if ok {
		reason, message = "", ""
	}
	if l.setCondition(kind, ok, reason, message) {
		l.changed = true
	}
}

// setCondition reports whether that changed anything.
func (l *podLife) setCondition(kind corev1.PodConditionType, ok bool, reason, message string) bool {
	status := corev1.ConditionFalse
	if ok {
		status = corev1.ConditionTrue
	}
	for i := range l.pod.Status.Conditions {
		old := &l.pod.Status.Conditions[i]
		if old.Type != kind {
			continue
		}
		if old.Status == status && old.Reason == reason && old.Message == message {
			return false
		}
		if old.Status != status {
			old.LastTransitionTime = metav1.NewTime(l.now)
		}
		old.Status, old.Reason, old.Message = status, reason, message
		return true
	}
	l.pod.Status.Conditions = append(l.pod.Status.Conditions, corev1.PodCondition{
		Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(l.now),
	})
	return true
}
