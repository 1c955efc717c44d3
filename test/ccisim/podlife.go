package ccisim

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// podLife moves one Pod on. All it knows is in the Pod and the clock, so a simulator that was restarted goes on where it was.
// Invariant: pod is a private copy; changed says whether it has to be stored.
type podLife struct {
	s       *Sim
	pod     *Pod
	now     time.Time
	changed bool
	// at is the earliest time at which something happens by itself; zero is never.
	at time.Time
}

func (podStrategy) advance(s *Sim, obj object) step {
	l := &podLife{s: s, pod: obj.(*Pod).deepCopy(), now: s.now()}
	gone := l.advance()
	out := step{gone: gone, at: l.at}
	if l.changed || gone {
		out.next = l.pod
	}
	return out
}

// advance reports whether the Pod is gone.
func (l *podLife) advance() bool {
	delete(l.s.held, keyOf(l.pod))
	switch {
	case l.pod.DeletionTimestamp != nil:
		return l.end()
	case isFinished(l.pod):
		return false
	case l.pod.Spec.NodeName == "":
		l.place()
		return false
	case l.pastDeadline():
		l.fail("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
		return false
	}
	if started := l.startTime().Add(l.s.cfg.StartDelay); l.now.Before(started) {
		l.wait(started)
		return false
	}
	if l.mountVolumes() && l.giveAddress() {
		l.s.startExporter(l.pod)
		l.runContainers()
		l.summarize()
	}
	return false
}

// wait asks to be looked at again at a time.
func (l *podLife) wait(at time.Time) {
	if l.at.IsZero() || at.Before(l.at) {
		l.at = at
	}
}

func isFinished(pod *Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// startTime is when the Pod got its node.
func (l *podLife) startTime() time.Time {
	if l.pod.Status.StartTime == nil {
		return l.now
	}
	return l.pod.Status.StartTime.Time
}

func (l *podLife) pastDeadline() bool {
	if l.pod.Spec.ActiveDeadlineSeconds == nil {
		return false
	}
	deadline := l.startTime().Add(seconds(*l.pod.Spec.ActiveDeadlineSeconds))
	if l.now.Before(deadline) {
		l.wait(deadline)
		return false
	}
	return true
}

// place finds the Pod a node, unless something outside of it forbids; then it waits to be poked.
func (l *podLife) place() {
	if ready := l.pod.CreationTimestamp.Add(l.s.cfg.ScheduleDelay); l.now.Before(ready) {
		l.wait(ready)
		return
	}
	k := keyOf(l.pod)
	if l.obstacle() {
		l.s.held[k] = true
		return
	}
	l.pod.Spec.NodeName = fmt.Sprintf("compute-cell-%03d", 1+l.pod.UID[0]%3)
	l.pod.Spec.SchedulerName = schedulerName
	setLabel(&l.pod.ObjectMeta, labelVM, string(newUID()))
	setAnnotation(&l.pod.ObjectMeta, annotationGroupName, "podgroup-"+string(l.pod.UID))
	setAnnotation(&l.pod.ObjectMeta, corev1.LabelTopologyRegion, l.s.cfg.Region)
	setAnnotation(&l.pod.ObjectMeta, corev1.LabelTopologyZone, l.s.cfg.Region+"a")
	started := metav1.NewTime(l.now)
	l.pod.Status.StartTime = &started
	l.pod.Status.InitContainerStatuses = waitingStatuses(l.pod.Spec.InitContainers, len(l.pod.Spec.InitContainers) > 0)
	l.pod.Status.ContainerStatuses = waitingStatuses(l.pod.Spec.Containers, len(l.pod.Spec.InitContainers) > 0)
	l.setCondition(corev1.PodScheduled, true, "", "")
	l.summarize()
	l.changed = true
	l.s.recordEvent(l.pod, corev1.EventTypeNormal, "Scheduled", "Successfully assigned "+k.namespace+"/"+k.name+" to "+l.pod.Spec.NodeName)
	l.wait(l.now.Add(l.s.cfg.StartDelay))
}

// obstacle reports whether something keeps the Pod from a node, and shows it as the service does.
func (l *podLife) obstacle() bool {
	if reason := l.s.noNetwork(l.pod.Namespace); reason != "" {
		l.s.recordEvent(l.pod, corev1.EventTypeWarning, "NetworkNotReady", reason)
		return true
	}
	if l.s.faults.applies(SoldOut, l.s.objectPath(pods, keyOf(l.pod))) {
		const reason = "0/1 nodes are available: 1 insufficient resources, the flavor is sold out"
		if l.s.Policies().SilentConditions {
			l.s.recordEvent(l.pod, corev1.EventTypeWarning, "FailedScheduling", reason)
		} else if l.setCondition(corev1.PodScheduled, false, corev1.PodReasonUnschedulable, reason) {
			l.changed = true
			l.s.recordEvent(l.pod, corev1.EventTypeWarning, "FailedScheduling", reason)
		}
		return true
	}
	return false
}

func waitingStatuses(containers []corev1.Container, init bool) []corev1.ContainerStatus {
	reason := "ContainerCreating"
	if init {
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

// giveAddress gives the Pod an address if it has none; false when there is none to give.
func (l *podLife) giveAddress() bool {
	if l.pod.Status.PodIP != "" {
		return true
	}
	addr, ok := l.s.addresses.take()
	if !ok {
		l.s.held[keyOf(l.pod)] = true
		l.s.recordEvent(l.pod, corev1.EventTypeWarning, "FailedCreatePodSandBox", "the subnet has no address left")
		l.s.pokeNetworks(l.pod.Namespace)
		return false
	}
	if l.s.addresses.free() == 0 {
		l.s.pokeNetworks(l.pod.Namespace)
	}
	ip := addr.String()
	l.pod.Status.PodIP = ip
	l.pod.Status.PodIPs = []corev1.PodIP{{IP: ip}}
	setAnnotation(&l.pod.ObjectMeta, annotationNetStatus, fmt.Sprintf(`[{"name":"yangtse","ips":[%q],"default":true}]`, ip))
	setAnnotation(&l.pod.ObjectMeta, annotationVMNetwork, fmt.Sprintf(`{"ip":%q}`, ip))
	l.changed = true
	return true
}

// fail ends the Pod for a reason of the node's.
func (l *podLife) fail(reason, message string) {
	for _, statuses := range [][]corev1.ContainerStatus{l.pod.Status.InitContainerStatuses, l.pod.Status.ContainerStatuses} {
		for i := range statuses {
			l.terminate(&statuses[i], 137)
		}
	}
	l.summarize()
	l.pod.Status.Phase = corev1.PodFailed
	l.pod.Status.Reason, l.pod.Status.Message = reason, message
	l.changed = true
}

// forgetPod frees what a Pod held that is gone. Holds mu.
func (s *Sim) forgetPod(pod *Pod) {
	delete(s.held, keyOf(pod))
	s.pokeClaims(pod.Namespace)
	s.dropLogs(pod.UID)
	s.dropProcesses(pod)
	s.stopExporter(pod.UID)
	if s.addresses.give(pod.Status.PodIP) {
		for k := range s.store.tables[networks].items {
			s.poke(networks, k)
		}
		s.pokeHeld()
	}
}
