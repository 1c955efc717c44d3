package podlife

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

// exitKilled is the exit code of a container that got SIGKILL.
const exitKilled = 137

// terminatePod marks a Pod as deleted. A later call may shorten the grace period, but never lengthens it.
func (c *Controller) terminatePod(pod *objects.Pod, options *metav1.DeleteOptions) {
	grace := int64(gracePeriod(pod) / time.Second)
	if options.GracePeriodSeconds != nil {
		grace = *options.GracePeriodSeconds
	}
	end := metav1.NewTime(c.now().Add(seconds(grace)))
	if pod.DeletionTimestamp != nil && !end.Before(pod.DeletionTimestamp) {
		return
	}
	pod.DeletionTimestamp = &end
	pod.DeletionGracePeriodSeconds = &grace
}

// gracePeriod returns how long the containers of a Pod may take to end, unless a deletion says otherwise.
func gracePeriod(pod *objects.Pod) time.Duration {
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		return seconds(*pod.Spec.TerminationGracePeriodSeconds)
	}
	return 30 * time.Second
}

// terminate continues the deletion of a Pod, and reports whether the Pod is gone. Containers get SIGTERM, and SIGKILL
// when the grace period is over, sidecars after all others. Then the billing finalizer is removed, and the Pod with it.
func (r *podReconciler) terminate() bool {
	if r.stopContainers(false) || r.stopContainers(true) {
		r.summarize()
		return false
	}
	if !objects.IsFinished(r.pod) && r.pod.Status.StartTime != nil {
		r.finish()
	}
	goneAt := r.lastEnd().Add(r.c.cfg.FinalizerDelay)
	if r.now.Before(goneAt) {
		r.requeueAt(goneAt)
		return false
	}
	if r.hasFault(faults.HoldFinalizer) {
		return false
	}
	r.pod.Finalizers = nil
	return true
}

// deletedAt returns when the deletion was requested.
func (r *podReconciler) deletedAt() time.Time {
	grace := int64(0)
	if r.pod.DeletionGracePeriodSeconds != nil {
		grace = *r.pod.DeletionGracePeriodSeconds
	}
	return r.pod.DeletionTimestamp.Add(-seconds(grace))
}

// stopContainers ends the sidecars, or the other containers, whose time has come. It reports whether any of them still
// runs. Sidecars get SIGTERM when the last of the others has ended.
func (r *podReconciler) stopContainers(sidecars bool) (running bool) {
	since := r.deletedAt()
	if sidecars {
		since = r.lastEnd()
	}
	for _, container := range objects.AllContainers(r.pod) {
		status := objects.ContainerStatus(r.pod, container.Name)
		if status != nil && objects.IsSidecar(container) == sidecars {
			running = r.stopContainer(container, status, since) || running
		}
	}
	return running
}

// stopContainer ends a container whose time has come, and reports whether it still runs. It gets SIGTERM at since.
func (r *podReconciler) stopContainer(
	container *corev1.Container, status *corev1.ContainerStatus, since time.Time,
) bool {
	if status.State.Running == nil {
		return false
	}
	if p := r.process(container.Name); p != nil {
		r.stopProcess(p, r.pod.DeletionTimestamp.Time)
		return true
	}
	b := r.c.effectiveBehavior(r.pod, container)
	kill := r.pod.DeletionTimestamp.Time
	stop, code := kill, int32(exitKilled)
	if b.stopIn != never && since.Add(b.stopIn).Before(kill) {
		stop, code = since.Add(b.stopIn), b.stopCode
	}
	if r.now.Before(stop) {
		r.requeueAt(stop)
		return true
	}
	r.endContainer(status, code)
	return false
}

// stopProcess sends SIGTERM to a process, and SIGKILL when the grace period is over. The end of the process reconciles
// the Pod again.
func (r *podReconciler) stopProcess(p *process, kill time.Time) {
	if r.now.Before(kill) {
		p.terminate(r.now)
		r.requeueAt(kill)
		return
	}
	p.kill()
}

// finish sets the last phase of an ended Pod, as the kubelet does before it removes the Pod.
func (r *podReconciler) finish() {
	r.summarize()
	r.pod.Status.Phase = corev1.PodSucceeded
	for _, status := range r.pod.Status.ContainerStatuses {
		if status.State.Terminated == nil || status.State.Terminated.ExitCode != 0 {
			r.pod.Status.Phase = corev1.PodFailed
		}
	}
	r.changed = true
}

// lastEnd returns when the last container ended, or when the deletion was requested if that is later.
func (r *podReconciler) lastEnd() time.Time {
	last := r.deletedAt()
	for _, statuses := range [][]corev1.ContainerStatus{
		r.pod.Status.InitContainerStatuses, r.pod.Status.ContainerStatuses,
	} {
		for _, status := range statuses {
			if ended := status.State.Terminated; ended != nil && ended.FinishedAt.After(last) {
				last = ended.FinishedAt.Time
			}
		}
	}
	return last
}
