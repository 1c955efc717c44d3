package ccisim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	reasonCrashLoop   = "CrashLoopBackOff"
	reasonPullFailed  = "ErrImagePull"
	reasonPullBackOff = "ImagePullBackOff"
	reasonConfigError = "CreateContainerConfigError"
)

// runContainers moves all containers on: init containers one after the other, then the others together.
func (l *podLife) runContainers() {
	for i := range l.pod.Spec.InitContainers {
		c, status := &l.pod.Spec.InitContainers[i], l.initStatus(i)
		if status == nil {
			return
		}
		l.runContainer(c, status, true)
		switch {
		case isSidecar(c) && status.State.Running != nil:
		case status.State.Terminated != nil && status.State.Terminated.ExitCode == 0 && !isSidecar(c):
		case status.State.Terminated != nil && l.pod.Spec.RestartPolicy == corev1.RestartPolicyNever && !isSidecar(c):
			l.failedInit(status)
			return
		default:
			return
		}
	}
	for i := range l.pod.Spec.Containers {
		if status := l.status(i); status != nil {
			l.runContainer(&l.pod.Spec.Containers[i], status, false)
		}
	}
	l.stopSidecars()
}

func (l *podLife) initStatus(i int) *corev1.ContainerStatus {
	if i >= len(l.pod.Status.InitContainerStatuses) {
		return nil
	}
	return &l.pod.Status.InitContainerStatuses[i]
}

func (l *podLife) status(i int) *corev1.ContainerStatus {
	if i >= len(l.pod.Status.ContainerStatuses) {
		return nil
	}
	return &l.pod.Status.ContainerStatuses[i]
}

// failedInit: a Pod with restartPolicy Never is over when an init container fails.
func (l *podLife) failedInit(status *corev1.ContainerStatus) {
	for i := range l.pod.Status.InitContainerStatuses {
		l.terminate(&l.pod.Status.InitContainerStatuses[i], 0)
	}
	l.pod.Status.Phase = corev1.PodFailed
	l.pod.Status.Message = fmt.Sprintf("init container %s ended with %d", status.Name, status.State.Terminated.ExitCode)
	l.changed = true
}

// stopSidecars ends native sidecars once nothing else will run.
func (l *podLife) stopSidecars() {
	for i := range l.pod.Spec.Containers {
		status := l.status(i)
		if status == nil || status.State.Terminated == nil || l.restarts(&l.pod.Spec.Containers[i], status) {
			return
		}
	}
	for i := range l.pod.Spec.InitContainers {
		if isSidecar(&l.pod.Spec.InitContainers[i]) {
			l.terminate(&l.pod.Status.InitContainerStatuses[i], 0)
		}
	}
}

// runContainer moves one container on as far as it gets by now.
func (l *podLife) runContainer(c *corev1.Container, status *corev1.ContainerStatus, init bool) {
	b, err := l.s.behaviourOf(l.pod, c)
	if err != nil {
		// Admission has refused such annotations, and a later change of them is ignored.
		b = l.s.defaultBehaviour(l.pod, c, init)
	}
	for more := true; more; {
		switch {
		case status.State.Waiting != nil:
			more = l.tryStart(c, status, b)
		case status.State.Running != nil:
			more = l.run(c, status, b)
		default:
			more = l.restarts(c, status)
			if more {
				l.restart(c, status)
			}
		}
	}
}

// tryStart starts a waiting container if its image is there and its back-off is over, and reports whether it did.
func (l *podLife) tryStart(c *corev1.Container, status *corev1.ContainerStatus, b behaviour) bool {
	waiting := status.State.Waiting
	if waiting.Reason == reasonCrashLoop && status.LastTerminationState.Terminated != nil {
		over := status.LastTerminationState.Terminated.FinishedAt.Add(l.s.backoff(status.RestartCount))
		if l.now.Before(over) {
			l.wait(over)
			return false
		}
	}
	if words := l.s.missingVariable(l.pod.Namespace, c); words != "" {
		l.failConfig(c, waiting, words)
		return false
	}
	if b.noImage || missingImage(c.Image) || l.s.faults.applies(ImagePull, l.s.objectPath(pods, keyOf(l.pod))) {
		l.failPull(c, waiting)
		return false
	}
	if status.LastTerminationState.Terminated != nil {
		status.RestartCount++
	}
	l.start(c, status, b)
	return true
}

// failConfig shows that a variable cannot be made, until the object that it comes from is there.
func (l *podLife) failConfig(c *corev1.Container, waiting *corev1.ContainerStateWaiting, words string) {
	l.s.held[keyOf(l.pod)] = true
	if waiting.Reason == reasonConfigError && waiting.Message == words {
		return
	}
	waiting.Reason, waiting.Message = reasonConfigError, words
	l.changed = true
	l.s.recordEvent(l.pod, corev1.EventTypeWarning, "Failed", "Error: container "+c.Name+": "+words)
}

// failPull shows that the image cannot be pulled: first the error, then for good the back-off, until an image or a fault changes.
func (l *podLife) failPull(c *corev1.Container, waiting *corev1.ContainerStateWaiting) {
	cause := fmt.Sprintf("failed to pull and unpack image %q: failed to resolve reference: %s: not found", c.Image, c.Image)
	switch waiting.Reason {
	case reasonPullBackOff:
	case reasonPullFailed:
		waiting.Reason, waiting.Message = reasonPullBackOff, fmt.Sprintf("Back-off pulling image %q: %s: %s", c.Image, reasonPullFailed, cause)
		l.changed = true
	default:
		waiting.Reason, waiting.Message = reasonPullFailed, cause
		l.changed = true
		l.s.recordEvent(l.pod, corev1.EventTypeWarning, "Failed", "Error: "+reasonPullFailed+": "+cause)
		l.wait(l.now.Add(l.s.cfg.StartDelay))
	}
}

func (l *podLife) start(c *corev1.Container, status *corev1.ContainerStatus, b behaviour) {
	sum := sha256.Sum256([]byte(c.Image))
	status.Image = c.Image
	status.ImageID = c.Image + "@sha256:" + hex.EncodeToString(sum[:])
	status.ContainerID = newContainerID()
	status.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(l.now)}}
	started := c.StartupProbe == nil
	status.Started = &started
	status.Ready = false
	l.changed = true
	l.s.startLog(l.pod, c, b.logLines)
	if l.s.isProcess(c) {
		if err := l.s.startProcess(l.pod, c); err != nil {
			l.terminate(status, startFailed)
			status.State.Terminated.Reason, status.State.Terminated.Message = "StartError", err.Error()
			return
		}
	}
	l.s.recordEvent(l.pod, corev1.EventTypeNormal, "Started", "Started container "+c.Name)
}

// startFailed is the exit code of a container whose process cannot be started, as containerd has it.
const startFailed = 128

func newContainerID() string {
	sum := sha256.Sum256([]byte(newUID()))
	return "containerd://" + hex.EncodeToString(sum[:])
}

// run ends a running container whose time is over or that runs another image than it should, and makes it ready in time. It reports
// whether the container ended.
func (l *podLife) run(c *corev1.Container, status *corev1.ContainerStatus, b behaviour) bool {
	startedAt := status.State.Running.StartedAt.Time
	if status.Image != c.Image {
		l.terminate(status, b.stopCode)
		l.restart(c, status)
		return true
	}
	if l.s.isProcess(c) && l.s.processes[containerKey{l.pod.UID, c.Name}] == nil {
		l.terminate(status, killed) // It ended with the simulator that started it.
		return true
	}
	if b.runFor != never {
		over := startedAt.Add(b.runFor)
		if !l.now.Before(over) {
			l.terminate(status, b.exitCode)
			return true
		}
		l.wait(over)
	}
	if status.Ready || b.readyIn == never {
		return false
	}
	if ready := startedAt.Add(b.readyIn); l.now.Before(ready) {
		l.wait(ready)
		return false
	}
	started := true
	status.Started, status.Ready = &started, true
	l.changed = true
	return false
}

// terminate ends a container with a code, if it runs; one that never started is shown as never started.
func (l *podLife) terminate(status *corev1.ContainerStatus, code int32) {
	if status.State.Running == nil {
		return
	}
	reason := "Completed"
	if code != 0 {
		reason = "Error"
	}
	started := false
	status.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, StartedAt: status.State.Running.StartedAt, FinishedAt: metav1.NewTime(l.now), ContainerID: status.ContainerID,
	}}
	status.Ready, status.Started = false, &started
	l.changed = true
	l.s.killProcess(containerKey{l.pod.UID, status.Name})
	l.s.endLog(l.pod, status.Name, code)
}

// restarts tells whether an ended container runs again.
func (l *podLife) restarts(c *corev1.Container, status *corev1.ContainerStatus) bool {
	switch {
	case isSidecar(c):
		return true
	case l.pod.Spec.RestartPolicy == corev1.RestartPolicyNever:
		return false
	case l.pod.Spec.RestartPolicy == corev1.RestartPolicyOnFailure || l.isInit(c):
		return status.State.Terminated.ExitCode != 0
	default:
		return true
	}
}

func (l *podLife) isInit(c *corev1.Container) bool {
	for i := range l.pod.Spec.InitContainers {
		if l.pod.Spec.InitContainers[i].Name == c.Name {
			return true
		}
	}
	return false
}

// restart makes an ended container wait for its next start: the first time for no time, then after a back-off, as the kubelet does.
func (l *podLife) restart(c *corev1.Container, status *corev1.ContainerStatus) {
	imageChanged := status.Image != c.Image
	status.LastTerminationState = corev1.ContainerState{Terminated: status.State.Terminated}
	waiting := &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
	if status.RestartCount > 0 && !imageChanged {
		backoff := l.s.backoff(status.RestartCount)
		waiting = &corev1.ContainerStateWaiting{Reason: reasonCrashLoop, Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)",
			backoff, c.Name, l.pod.Name, l.pod.Namespace, l.pod.UID)}
		l.s.recordEvent(l.pod, corev1.EventTypeWarning, "BackOff", "Back-off restarting failed container "+c.Name)
	}
	status.State = corev1.ContainerState{Waiting: waiting}
	l.changed = true
}

// backoff is the wait before the next restart of a container that has restarted n times.
func (s *Sim) backoff(n int32) time.Duration {
	wait := s.cfg.RestartBackoff
	for i := int32(1); i < n && wait < s.cfg.MaxRestartBackoff; i++ {
		wait *= 2
	}
	return min(wait, s.cfg.MaxRestartBackoff)
}

// behaviourOf is what a container does, by its Pod's annotations.
func (s *Sim) behaviourOf(pod *Pod, c *corev1.Container) (behaviour, error) {
	init := false
	for i := range pod.Spec.InitContainers {
		init = init || &pod.Spec.InitContainers[i] == c
	}
	b := s.defaultBehaviour(pod, c, init)
	return b, b.apply(pod.Annotations, c.Name, init, s.cfg.StartDelay)
}

// defaultBehaviour is what a container does that no annotation speaks of.
func (s *Sim) defaultBehaviour(pod *Pod, c *corev1.Container, init bool) behaviour {
	b := behaviour{runFor: never, stopIn: s.cfg.StopDelay, logLines: 1}
	switch {
	case isSidecar(c), s.isProcess(c):
	case init:
		b.runFor = s.cfg.InitRunTime
	case pod.Spec.RestartPolicy != corev1.RestartPolicyAlways:
		b.runFor = s.cfg.RunTime
	}
	for _, probe := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe} {
		if probe != nil {
			b.readyIn += seconds(int64(probe.InitialDelaySeconds))
		}
	}
	return b
}
