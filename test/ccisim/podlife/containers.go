package podlife

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// Reasons of waiting containers, as the kubelet has them.
const (
	ReasonPullFailed  = "ErrImagePull"
	ReasonPullBackOff = "ImagePullBackOff"

	reasonCrashLoop   = "CrashLoopBackOff"
	reasonConfigError = "CreateContainerConfigError"
)

// exitStartFailed is containerd's exit code of a container whose process cannot be started.
const exitStartFailed = 128

// FinishContainer ends a running container with an exit code, as if its process had ended.
func (c *Controller) FinishContainer(namespace, pod, container string, exitCode int32) error {
	var err error
	if exitCode < 0 || exitCode > 255 {
		return fmt.Errorf("finishing container %s of %s/%s: exit code: invalid value %d: must be from 0 to 255",
			container, namespace, pod, exitCode)
	}
	c.store.Update(func(tx store.Tx) {
		found := tx.Pod(namespace, pod)
		if found == nil {
			err = errors.New("no such pod")
			return
		}
		err = c.finishContainer(tx, found, container, exitCode)
	})
	if err != nil {
		return fmt.Errorf("finishing container %s of %s/%s: %w", container, namespace, pod, err)
	}
	return nil
}

// finishContainer ends a running container of a stored Pod.
func (c *Controller) finishContainer(tx store.Tx, pod *objects.Pod, container string, exitCode int32) error {
	r := c.newPodReconciler(tx, pod)
	status := objects.ContainerStatus(r.pod, container)
	if status == nil || status.State.Running == nil {
		return errors.New("it is not running")
	}
	r.endContainer(status, exitCode)
	r.summarize()
	c.put(tx, objects.Pods, r.pod)
	c.Enqueue(tx, objects.Pods, objects.KeyOf(r.pod))
	return nil
}

// runContainers reconciles all containers: init containers one after the other, then the others together. A sidecar
// must have started, by its startup probe, before the next one.
func (r *podReconciler) runContainers() {
	initialized := r.anyStarted()
	for i := range r.pod.Spec.InitContainers {
		container, status := &r.pod.Spec.InitContainers[i], r.initStatus(i)
		if status == nil {
			return
		}
		r.runContainer(container, status)
		isSidecar, ended := objects.IsSidecar(container), status.State.Terminated
		switch {
		case isSidecar && (initialized || hasStarted(status)):
		case ended != nil && ended.ExitCode == 0 && !isSidecar:
		case ended != nil && r.pod.Spec.RestartPolicy == corev1.RestartPolicyNever && !isSidecar:
			r.failInit(status)
			return
		default:
			return
		}
	}
	for i := range r.pod.Spec.Containers {
		if status := r.status(i); status != nil {
			r.runContainer(&r.pod.Spec.Containers[i], status)
		}
	}
	r.stopSidecars()
}

// hasStarted reports whether the startup probe of a container has succeeded.
func hasStarted(status *corev1.ContainerStatus) bool { return status.Started != nil && *status.Started }

// anyStarted reports whether a container that is no init container has started once.
func (r *podReconciler) anyStarted() bool {
	return slices.ContainsFunc(r.pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.State.Running != nil || s.State.Terminated != nil || s.LastTerminationState.Terminated != nil
	})
}

// process returns the process of a container, or nil if it has none.
func (r *podReconciler) process(container string) *process {
	return r.c.processes[containerKey{r.pod.UID, container}]
}

func (r *podReconciler) initStatus(i int) *corev1.ContainerStatus {
	if i >= len(r.pod.Status.InitContainerStatuses) {
		return nil
	}
	return &r.pod.Status.InitContainerStatuses[i]
}

func (r *podReconciler) status(i int) *corev1.ContainerStatus {
	if i >= len(r.pod.Status.ContainerStatuses) {
		return nil
	}
	return &r.pod.Status.ContainerStatuses[i]
}

// failInit ends a Pod with restartPolicy Never after a failed init container.
func (r *podReconciler) failInit(status *corev1.ContainerStatus) {
	for i := range r.pod.Status.InitContainerStatuses {
		r.endContainer(&r.pod.Status.InitContainerStatuses[i], 0)
	}
	r.pod.Status.Phase = corev1.PodFailed
	r.pod.Status.Message = fmt.Sprintf("init container %s ended with %d", status.Name, status.State.Terminated.ExitCode)
	r.changed = true
}

// isDone reports whether no container will run again, native sidecars aside.
func (r *podReconciler) isDone() bool {
	for i := range r.pod.Spec.Containers {
		status := r.status(i)
		if status == nil || status.State.Terminated == nil || r.restarts(&r.pod.Spec.Containers[i], status) {
			return false
		}
	}
	return true
}

// stopSidecars ends native sidecars when no other container will run again: the last first, and each after the one
// before it. A process gets SIGTERM, and the grace period of the Pod.
func (r *podReconciler) stopSidecars() {
	if !r.isDone() {
		return
	}
	for i := range slices.Backward(r.pod.Spec.InitContainers) {
		container, status := &r.pod.Spec.InitContainers[i], r.initStatus(i)
		if !objects.IsSidecar(container) || status == nil || status.State.Running == nil {
			continue
		}
		if p := r.process(container.Name); p != nil {
			p.terminate(r.now)
			r.stopProcess(p, p.terminated.Add(gracePeriod(r.pod)))
			return
		}
		r.endContainer(status, 0)
	}
}

// runContainer reconciles one container until nothing changes any more at this time.
func (r *podReconciler) runContainer(container *corev1.Container, status *corev1.ContainerStatus) {
	b := r.c.effectiveBehavior(r.pod, container)
	for more := true; more; {
		switch {
		case status.State.Waiting != nil:
			more = r.tryStart(container, status, b)
		case status.State.Running != nil:
			more = r.run(container, status, b)
		default:
			more = r.restarts(container, status)
			if more {
				r.restart(container, status)
			}
		}
	}
}

// tryStart starts a waiting container if its image can be pulled and its back-off is over, and reports whether it did.
func (r *podReconciler) tryStart(container *corev1.Container, status *corev1.ContainerStatus, b behavior) bool {
	waiting := status.State.Waiting
	if waiting.Reason == reasonCrashLoop && status.LastTerminationState.Terminated != nil {
		over := status.LastTerminationState.Terminated.FinishedAt.Add(r.c.backoff(status.RestartCount))
		if r.now.Before(over) {
			r.requeueAt(over)
			return false
		}
	}
	if message := missingVariable(r.tx, r.pod.Namespace, container); message != "" {
		r.failConfig(container, waiting, message)
		return false
	}
	if b.noImage || missingImage(container.Image) || r.hasFault(faults.ImagePull) {
		r.failPull(container, waiting)
		return false
	}
	if status.LastTerminationState.Terminated != nil {
		status.RestartCount++
	}
	r.start(container, status, b)
	return true
}

// failConfig shows that the value of a variable does not exist. The container waits for the object that has it.
func (r *podReconciler) failConfig(
	container *corev1.Container, waiting *corev1.ContainerStateWaiting, message string,
) {
	r.waitForOthers()
	if waiting.Reason == reasonConfigError && waiting.Message == message {
		return
	}
	waiting.Reason, waiting.Message = reasonConfigError, message
	r.changed = true
	r.warn("Failed", "Error: container "+container.Name+": "+message)
}

// failPull shows that the image cannot be pulled: first the error, then the back-off, until the image or a fault
// changes.
func (r *podReconciler) failPull(container *corev1.Container, waiting *corev1.ContainerStateWaiting) {
	image := container.Image
	cause := fmt.Sprintf("failed to pull and unpack image %q: failed to resolve reference: %s: not found", image, image)
	switch waiting.Reason {
	case ReasonPullBackOff:
	case ReasonPullFailed:
		waiting.Reason = ReasonPullBackOff
		waiting.Message = fmt.Sprintf("Back-off pulling image %q: %s: %s", image, ReasonPullFailed, cause)
		r.changed = true
	default:
		waiting.Reason, waiting.Message = ReasonPullFailed, cause
		r.changed = true
		r.warn("Failed", "Error: "+ReasonPullFailed+": "+cause)
		r.requeueAt(r.now.Add(r.c.cfg.StartDelay))
	}
}

func (r *podReconciler) start(container *corev1.Container, status *corev1.ContainerStatus, b behavior) {
	sum := sha256.Sum256([]byte(container.Image))
	status.Image = container.Image
	status.ImageID = container.Image + "@sha256:" + hex.EncodeToString(sum[:])
	status.ContainerID = newContainerID()
	status.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(r.now)}}
	started := container.StartupProbe == nil
	status.Started = &started
	status.Ready = false
	r.changed = true
	r.c.startLog(r.tx, r.pod, container, b.logLines)
	if r.c.isProcess(container) {
		if err := r.c.startProcess(r.tx, r.pod, container); err != nil {
			r.endContainer(status, exitStartFailed)
			status.State.Terminated.Reason, status.State.Terminated.Message = "StartError", err.Error()
			return
		}
	}
	r.inform("Started", "Started container "+container.Name)
}

func newContainerID() string {
	sum := sha256.Sum256([]byte(uuid.NewUUID()))
	return "containerd://" + hex.EncodeToString(sum[:])
}

// run ends a running container whose time is over or whose image has changed, and makes it ready when it is time. It
// reports whether the container ended.
func (r *podReconciler) run(container *corev1.Container, status *corev1.ContainerStatus, b behavior) bool {
	startedAt := status.State.Running.StartedAt.Time
	if status.Image != container.Image {
		r.endContainer(status, b.stopCode)
		r.restart(container, status)
		return true
	}
	if r.c.isProcess(container) && r.process(container.Name) == nil {
		r.endContainer(status, exitKilled) // It ended with the simulator that started it.
		return true
	}
	if p := r.process(container.Name); p != nil && r.c.isIsolated() {
		r.showProbes(status, p)
		return false
	}
	if b.runFor != never {
		over := startedAt.Add(b.runFor)
		if !r.now.Before(over) {
			r.endContainer(status, b.exitCode)
			return true
		}
		r.requeueAt(over)
	}
	if status.Ready || b.readyIn == never {
		return false
	}
	if ready := startedAt.Add(b.readyIn); r.now.Before(ready) {
		r.requeueAt(ready)
		return false
	}
	started := true
	status.Started, status.Ready = &started, true
	r.changed = true
	return false
}

// endContainer ends a container with an exit code, if it runs. A container that has not started stays as it is.
func (r *podReconciler) endContainer(status *corev1.ContainerStatus, code int32) {
	if status.State.Running == nil {
		return
	}
	reason := "Completed"
	if code != 0 {
		reason = "Error"
	}
	started := false
	status.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, StartedAt: status.State.Running.StartedAt, FinishedAt: metav1.NewTime(r.now),
		ContainerID: status.ContainerID,
	}}
	status.Ready, status.Started = false, &started
	r.changed = true
	r.c.killProcess(r.tx, containerKey{r.pod.UID, status.Name})
	r.c.endLog(r.tx, r.pod, status.Name, code)
}

// restarts reports whether an ended container runs again.
func (r *podReconciler) restarts(container *corev1.Container, status *corev1.ContainerStatus) bool {
	switch {
	case objects.IsSidecar(container):
		return !r.isDone()
	case r.pod.Spec.RestartPolicy == corev1.RestartPolicyNever:
		return false
	case r.pod.Spec.RestartPolicy == corev1.RestartPolicyOnFailure || isInit(r.pod, container):
		return status.State.Terminated.ExitCode != 0
	default:
		return true
	}
}

// isInit reports whether a container of the Pod is an init container.
func isInit(pod *objects.Pod, container *corev1.Container) bool {
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == container.Name {
			return true
		}
	}
	return false
}

// restart makes an ended container wait for its next start. The first restart is immediate, later ones wait for a
// back-off, as the kubelet does it.
func (r *podReconciler) restart(container *corev1.Container, status *corev1.ContainerStatus) {
	imageChanged := status.Image != container.Image
	status.LastTerminationState = corev1.ContainerState{Terminated: status.State.Terminated}
	waiting := &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
	if status.RestartCount > 0 && !imageChanged {
		waiting = &corev1.ContainerStateWaiting{
			Reason: reasonCrashLoop,
			Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)",
				r.c.backoff(status.RestartCount), container.Name, r.pod.Name, r.pod.Namespace, r.pod.UID),
		}
		r.warn("BackOff", "Back-off restarting failed container "+container.Name)
	}
	status.State = corev1.ContainerState{Waiting: waiting}
	r.changed = true
}

// backoff returns the wait before the next restart of a container that has restarted n times.
func (c *Controller) backoff(n int32) time.Duration {
	wait := c.cfg.RestartBackoff
	for i := int32(1); i < n && wait < c.cfg.MaxRestartBackoff; i++ {
		wait *= 2
	}
	return min(wait, c.cfg.MaxRestartBackoff)
}
