package ccisim

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// killed is the exit code of a container that did not end in time.
const killed = 137

// end moves a deleted Pod on, and reports whether it is gone: containers get SIGTERM, then SIGKILL when the grace is over, then the
// billing finalizer goes, and the Pod with it.
func (l *podLife) end() bool {
	running := false
	for _, c := range allContainers(l.pod) {
		if status := l.statusOf(c.Name); status != nil {
			running = l.stopContainer(c, status) || running
		}
	}
	if running {
		l.summarize()
		return false
	}
	if !isFinished(l.pod) && l.pod.Status.StartTime != nil {
		l.finishEnded()
	}
	goneAt := l.lastEnd().Add(l.s.cfg.FinalizerDelay)
	if l.now.Before(goneAt) {
		l.wait(goneAt)
		return false
	}
	if l.s.faults.applies(HoldFinalizer, l.s.objectPath(pods, keyOf(l.pod))) {
		return false
	}
	l.pod.Finalizers = nil
	return true
}

// deletedAt is when the deletion was asked for.
func (l *podLife) deletedAt() time.Time {
	grace := int64(0)
	if l.pod.DeletionGracePeriodSeconds != nil {
		grace = *l.pod.DeletionGracePeriodSeconds
	}
	return l.pod.DeletionTimestamp.Add(-seconds(grace))
}

// stopContainer ends a container whose time has come, and reports whether it still runs.
func (l *podLife) stopContainer(c *corev1.Container, status *corev1.ContainerStatus) bool {
	if status.State.Running == nil {
		return false
	}
	if p := l.s.processes[containerKey{l.pod.UID, c.Name}]; p != nil {
		l.stopProcess(p)
		return true
	}
	b, err := l.s.behaviourOf(l.pod, c)
	if err != nil {
		b = l.s.defaultBehaviour(l.pod, c, l.isInit(c))
	}
	kill := l.pod.DeletionTimestamp.Time
	stop, code := kill, int32(killed)
	if b.stopIn != never && l.deletedAt().Add(b.stopIn).Before(kill) {
		stop, code = l.deletedAt().Add(b.stopIn), b.stopCode
	}
	if l.now.Before(stop) {
		l.wait(stop)
		return true
	}
	l.terminate(status, code)
	return false
}

// stopProcess asks a process to end, and kills it when the grace is over; its end brings us back.
func (l *podLife) stopProcess(p *process) {
	if kill := l.pod.DeletionTimestamp.Time; l.now.Before(kill) {
		p.askToEnd()
		l.wait(kill)
		return
	}
	p.kill()
}

// finishEnded gives an ended Pod its last phase, as the kubelet does before it lets the Pod go.
func (l *podLife) finishEnded() {
	l.summarize()
	l.pod.Status.Phase = corev1.PodSucceeded
	for _, status := range l.pod.Status.ContainerStatuses {
		if status.State.Terminated == nil || status.State.Terminated.ExitCode != 0 {
			l.pod.Status.Phase = corev1.PodFailed
		}
	}
	l.changed = true
}

// lastEnd is when the last container ended, or when the deletion was asked for.
func (l *podLife) lastEnd() time.Time {
	last := l.deletedAt()
	for _, statuses := range [][]corev1.ContainerStatus{l.pod.Status.InitContainerStatuses, l.pod.Status.ContainerStatuses} {
		for _, status := range statuses {
			if ended := status.State.Terminated; ended != nil && ended.FinishedAt.After(last) {
				last = ended.FinishedAt.Time
			}
		}
	}
	return last
}

func (l *podLife) statusOf(name string) *corev1.ContainerStatus {
	return containerStatus(l.pod, name)
}

func containerStatus(pod *Pod, name string) *corev1.ContainerStatus {
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range statuses {
			if statuses[i].Name == name {
				return &statuses[i]
			}
		}
	}
	return nil
}
