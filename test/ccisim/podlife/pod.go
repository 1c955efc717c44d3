package podlife

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// podReconciler reconciles one Pod. It decides by the Pod, the clock and the faults alone, so a simulator that was
// restarted continues where it was.
// Invariant: pod is a private copy, and changed reports whether it must be stored.
type podReconciler struct {
	c       *Controller
	tx      store.Tx
	pod     *objects.Pod
	now     time.Time
	changed bool
	// at is the earliest time at which the Pod changes without a cause from outside. Zero is never.
	at time.Time
}

func (c *Controller) newPodReconciler(tx store.Tx, pod *objects.Pod) *podReconciler {
	return &podReconciler{c: c, tx: tx, pod: pod.DeepCopy(), now: c.now()}
}

func (c *Controller) reconcilePod(tx store.Tx, pod *objects.Pod) result {
	r := c.newPodReconciler(tx, pod)
	out := result{gone: r.reconcile()}
	out.at = r.at
	if r.changed || out.gone {
		out.next = r.pod
	}
	return out
}

// reconcile reports whether the Pod is gone.
func (r *podReconciler) reconcile() bool {
	delete(r.c.waiting, objects.KeyOf(r.pod))
	switch {
	case r.pod.DeletionTimestamp != nil:
		return r.terminate()
	case objects.IsFinished(r.pod):
		return false
	case r.pod.Spec.NodeName == "":
		r.schedule()
		return false
	case r.pastDeadline():
		r.fail("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
		return false
	}
	if started := r.startTime().Add(r.startDelay()); r.now.Before(started) {
		r.requeueAt(started)
		return false
	}
	if r.mountVolumes() && r.assignAddress() {
		r.c.startExporter(r.tx, r.pod)
		r.runContainers()
		r.summarize()
	}
	return false
}

// requeueAt reconciles the Pod again at a time, or earlier.
func (r *podReconciler) requeueAt(at time.Time) {
	if r.at.IsZero() || at.Before(r.at) {
		r.at = at
	}
}

// waitForOthers reconciles the Pod again when something outside of it changes.
func (r *podReconciler) waitForOthers() { r.c.waiting[objects.KeyOf(r.pod)] = true }

// warn records a warning Event about the Pod.
func (r *podReconciler) warn(reason, message string) {
	r.c.recordEvent(r.tx, r.pod, corev1.EventTypeWarning, reason, message)
}

// inform records an Event about the Pod.
func (r *podReconciler) inform(reason, message string) {
	r.c.recordEvent(r.tx, r.pod, corev1.EventTypeNormal, reason, message)
}

// hasFault reports whether a fault of the cloud applies to the Pod.
func (r *podReconciler) hasFault(kind faults.Kind) bool {
	return r.c.hasFault(r.tx, kind, objects.Pods, r.pod)
}

// startTime returns when the Pod got its node.
func (r *podReconciler) startTime() time.Time {
	if r.pod.Status.StartTime == nil {
		return r.now
	}
	return r.pod.Status.StartTime.Time
}

func (r *podReconciler) pastDeadline() bool {
	if r.pod.Spec.ActiveDeadlineSeconds == nil {
		return false
	}
	deadline := r.startTime().Add(seconds(*r.pod.Spec.ActiveDeadlineSeconds))
	if r.now.Before(deadline) {
		r.requeueAt(deadline)
		return false
	}
	return true
}

// schedule assigns the Pod to a node, unless something outside of it prevents that. The Pod then waits.
func (r *podReconciler) schedule() {
	if ready := r.pod.CreationTimestamp.Add(r.c.cfg.ScheduleDelay); r.now.Before(ready) {
		r.requeueAt(ready)
		return
	}
	if r.isUnschedulable() {
		r.waitForOthers()
		return
	}
	r.pod.Spec.NodeName = fmt.Sprintf("compute-cell-%03d", 1+r.pod.UID[0]%3)
	r.pod.Spec.SchedulerName = objects.PodScheduler
	region := r.c.cfg.Region
	objects.SetLabel(&r.pod.ObjectMeta, objects.LabelVM, string(uuid.NewUUID()))
	objects.SetAnnotation(&r.pod.ObjectMeta, objects.AnnotationGroupName, "podgroup-"+string(r.pod.UID))
	objects.SetAnnotation(&r.pod.ObjectMeta, corev1.LabelTopologyRegion, region)
	objects.SetAnnotation(&r.pod.ObjectMeta, corev1.LabelTopologyZone, region+"a")
	started := metav1.NewTime(r.now)
	r.pod.Status.StartTime = &started
	hasInit := len(r.pod.Spec.InitContainers) > 0
	r.pod.Status.InitContainerStatuses = waitingStatuses(r.pod.Spec.InitContainers, hasInit)
	r.pod.Status.ContainerStatuses = waitingStatuses(r.pod.Spec.Containers, hasInit)
	r.setCondition(corev1.PodScheduled, true, "", "")
	r.summarize()
	r.changed = true
	r.inform("Scheduled",
		"Successfully assigned "+r.pod.Namespace+"/"+r.pod.Name+" to "+r.pod.Spec.NodeName)
	r.requeueAt(r.now.Add(r.startDelay()))
}

// isUnschedulable reports whether something keeps the Pod from a node, and shows it as the service does.
func (r *podReconciler) isUnschedulable() bool {
	if reason := noNetwork(r.tx, r.pod.Namespace); reason != "" {
		r.warn("NetworkNotReady", reason)
		return true
	}
	if !r.hasFault(faults.SoldOut) {
		return false
	}
	const message = "0/1 nodes are available: 1 insufficient resources, the flavor is sold out"
	if r.c.cfg.Faults.Policies().SilentConditions {
		r.warn("FailedScheduling", message)
	} else if r.setCondition(corev1.PodScheduled, false, corev1.PodReasonUnschedulable, message) {
		r.changed = true
		r.warn("FailedScheduling", message)
	}
	return true
}

func waitingStatuses(containers []corev1.Container, hasInit bool) []corev1.ContainerStatus {
	reason := "ContainerCreating"
	if hasInit {
		reason = "PodInitializing"
	}
	var out []corev1.ContainerStatus
	for _, c := range containers {
		started := false
		out = append(out, corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, Started: &started,
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}},
		})
	}
	return out
}

// assignAddress assigns an address to the Pod if it has none. It returns false if no address is free.
func (r *podReconciler) assignAddress() bool {
	if r.pod.Status.PodIP != "" {
		return true
	}
	addr, ok := r.c.addresses.allocate(r.tx, r.pod.Namespace)
	if !ok {
		r.waitForOthers()
		r.warn("FailedCreatePodSandBox", "the subnet has no address left")
		r.c.enqueueNetworks(r.tx, r.pod.Namespace)
		return false
	}
	if r.c.addresses.with(addr).free() == 0 {
		r.c.enqueueNetworks(r.tx, r.pod.Namespace)
	}
	ip := addr.String()
	r.pod.Status.PodIP = ip
	r.pod.Status.PodIPs = []corev1.PodIP{{IP: ip}}
	objects.SetAnnotation(&r.pod.ObjectMeta, objects.AnnotationNetStatus,
		fmt.Sprintf(`[{"name":"yangtse","ips":[%q],"default":true}]`, ip))
	objects.SetAnnotation(&r.pod.ObjectMeta, objects.AnnotationVMNetwork, fmt.Sprintf(`{"ip":%q}`, ip))
	r.changed = true
	return true
}

// fail ends the Pod for a reason of the node.
func (r *podReconciler) fail(reason, message string) {
	for _, statuses := range [][]corev1.ContainerStatus{
		r.pod.Status.InitContainerStatuses, r.pod.Status.ContainerStatuses,
	} {
		for i := range statuses {
			r.endContainer(&statuses[i], exitKilled)
		}
	}
	r.summarize()
	r.pod.Status.Phase = corev1.PodFailed
	r.pod.Status.Reason, r.pod.Status.Message = reason, message
	r.changed = true
}

// releasePod frees what a removed Pod used, and enqueues what may wait for it.
func (c *Controller) releasePod(tx store.Tx, pod *objects.Pod) {
	delete(c.waiting, objects.KeyOf(pod))
	c.enqueueDeletedClaims(tx, pod.Namespace)
	c.dropLogs(tx, pod.UID)
	c.dropProcesses(tx, pod)
	c.stopExporter(tx, pod.UID)
	if c.addresses.release(pod.Status.PodIP) {
		c.enqueueNetworks(tx, "")
		c.enqueueWaiting(tx)
	}
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }
