package wayhome

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// How long a move may take before it is taken back.
const (
	// bindTime is how long the ReplicaSet may take to release the Pod, and the successor to be created and bound.
	bindTime = time.Minute
	// readyTime is how long the successor may take to be Ready.
	readyTime = 10 * time.Minute
	// refusedTime is how long the eviction of the Pod may be refused.
	refusedTime = 10 * time.Minute
)

// revisionAnnotation numbers the revisions of a Deployment, on it and on its ReplicaSets.
const revisionAnnotation = "deployment.kubernetes.io/revision"

// move is a move with the successor first, as it is known at one moment.
type move struct {
	policy.MovingHome
	now time.Time
	// pod is the cloud Pod.
	pod *corev1.Pod
	// deployment and replicaSet are those of the move, by UID; nil if they are gone.
	deployment *appsv1.Deployment
	replicaSet *appsv1.ReplicaSet
	// replicas are the active Pods that the ReplicaSet controls.
	replicas []*corev1.Pod
	// isLocal says of which class a node is.
	isLocal func(node string) bool
	// refusedSince is when an eviction was refused first, zero if none was.
	refusedSince time.Time
}

// step is what is done next about a move.
type step string

const (
	// wait: nothing, until something changes.
	wait step = "wait"
	// evict: the successor is Ready, or the Pod is needed no more.
	evict step = "evict"
	// undo: the Pod gets its label back, so that the ReplicaSet adopts it and deletes the successor.
	undo step = "undo"
	// clean: the Pod belongs to a controller again. Only what the move has written is removed.
	clean step = "clean"
)

// why a move ends. It is a sentence of an Event.
const (
	becauseHome      = "its successor is Ready on a local node"
	becauseAbandoned = "its ReplicaSet is gone"
	becauseBack      = "its ReplicaSet has adopted it again"
	becauseOrphaned  = "its Deployment is gone"
	becauseUpdate    = "an update of its Deployment has begun"
	becauseEnded     = "it has ended"
	becauseAlone     = "its ReplicaSet has not released it in time"
	becauseNone      = "its ReplicaSet has created no successor in time, as with a ResourceQuota that is used up"
	becauseMissing   = "its workload has created no successor in time"
	becauseUnbound   = "its successor has found no local node in time"
	becauseCloud     = "its successor was placed in the cloud"
	becauseSlow      = "its successor was not Ready in time"
	becauseRefused   = "a PodDisruptionBudget has not allowed its eviction in time"
)

// next says what is done next, and why. It is the state machine of a move: everything that it depends on is in the
// objects of the API server, but for refusedSince, without which a refusal is only noticed later.
func (m move) next() (step, string) {
	controller := metav1.GetControllerOfNoCopy(m.pod)
	label, labeled := m.pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	elapsed := m.now.Sub(m.Start.Time)
	switch {
	case m.pod.DeletionTimestamp != nil:
		return wait, ""
	case controller != nil && (controller.UID != m.ReplicaSetUID || labeled):
		return clean, becauseBack
	case m.deployment == nil && m.replicaSet == nil:
		return m.orphan()
	case m.deployment == nil:
		return undo, becauseOrphaned
	case m.deployment.DeletionTimestamp != nil:
		return wait, "" // The Pod goes with its Deployment.
	case m.replicaSet == nil:
		return evict, becauseAbandoned // An update has removed it, and no controller would adopt the Pod.
	case policy.HasEnded(m.pod):
		return undo, becauseEnded
	case labeled && label == m.Hash:
		return undo, becauseBack // A user has put the label back, and the ReplicaSet adopts the Pod.
	case controller != nil && elapsed > bindTime:
		return undo, becauseAlone
	case controller != nil:
		return wait, ""
	case !isCurrent(m.deployment, m.replicaSet):
		return undo, becauseUpdate
	}
	return m.follow(elapsed)
}

// follow says what is done about a Pod that was released.
func (m move) follow(elapsed time.Duration) (step, string) {
	var successors, unbound, home int
	for _, pod := range m.replicas {
		if !pod.CreationTimestamp.After(m.After.Time) {
			continue
		}
		successors++
		switch {
		case pod.Spec.NodeName == "":
			unbound++
		case m.isLocal(pod.Spec.NodeName):
			home++
		}
	}
	switch {
	case home > 0 && m.complete():
		if !m.refusedSince.IsZero() && m.now.Sub(m.refusedSince) > refusedTime {
			return undo, becauseRefused
		}
		return evict, becauseHome
	case successors == 0 && elapsed > bindTime:
		return undo, becauseNone
	case unbound > 0 && elapsed > bindTime:
		return undo, becauseUnbound
	case successors > 0 && home+unbound == 0:
		return undo, becauseCloud
	case elapsed > readyTime:
		return undo, becauseSlow
	}
	return wait, ""
}

// complete reports whether the ReplicaSet has all its replicas without the Pod, and all are available.
func (m move) complete() bool {
	wanted := int32(1)
	if m.replicaSet.Spec.Replicas != nil {
		wanted = *m.replicaSet.Spec.Replicas
	}
	var available int32
	for _, pod := range m.replicas {
		if isAvailable(pod, m.replicaSet.Spec.MinReadySeconds, m.now) {
			available++
		}
	}
	return available >= wanted
}

// orphan says what is done about a Pod whose Deployment and ReplicaSet are both gone. The garbage collector deletes it,
// unless the owners were deleted in a way that leaves their Pods.
func (m move) orphan() (step, string) {
	for _, owner := range m.pod.OwnerReferences {
		if owner.UID == m.DeploymentUID {
			return wait, ""
		}
	}
	return clean, becauseOrphaned
}

// isCurrent reports whether a ReplicaSet is that of the current template of its Deployment.
func isCurrent(d *appsv1.Deployment, rs *appsv1.ReplicaSet) bool {
	return d.Annotations[revisionAnnotation] == rs.Annotations[revisionAnnotation]
}

// readyCondition returns the condition Ready if it is True.
func readyCondition(pod *corev1.Pod) *corev1.PodCondition {
	if ready := policy.PodCondition(pod, corev1.PodReady); ready != nil && ready.Status == corev1.ConditionTrue {
		return ready
	}
	return nil
}

// isAvailable reports whether a Pod has been Ready for so many seconds, as ReplicaSets define it.
func isAvailable(pod *corev1.Pod, minReadySeconds int32, now time.Time) bool {
	ready := readyCondition(pod)
	if ready == nil || !policy.IsActive(pod) {
		return false
	}
	since := ready.LastTransitionTime
	return minReadySeconds == 0 ||
		!since.IsZero() && !since.Add(time.Duration(minReadySeconds)*time.Second).After(now)
}
