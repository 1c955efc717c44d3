package wayhome

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// workload is what a Pod belongs to, as far as a move depends on it.
type workload struct {
	// object is the workload that users know, for Events.
	object corev1.ObjectReference
	// template is the spec of its Pods.
	template *corev1.PodSpec
	// surge says that a successor may exist before the Pod goes. Then deployment and replicaSet are set.
	surge      bool
	deployment *appsv1.Deployment
	replicaSet *appsv1.ReplicaSet
}

func reference(apiVersion, kind string, object metav1.Object) corev1.ObjectReference {
	return corev1.ObjectReference{
		APIVersion: apiVersion, Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName(),
		UID: object.GetUID(),
	}
}

// Why no Pod of a workload moves now, as sentences.
const (
	notAtRest   = "not all replicas of its workload are available, or an update runs"
	isPaused    = "its Deployment is paused"
	fewReplicas = "its workload has one replica and no surge: it would be unavailable"
	otherOwner  = "its controller is none that Spillway moves Pods of: a Deployment, a StatefulSet, or a ReplicaSet " +
		"or ReplicationController of its own"
	oldRevision = "it is not of the current revision of its workload"
	isGone      = "its workload is gone or being deleted"
)

// ofDeployment returns the workload of a Pod of a Deployment, or why none of its Pods moves now.
func ofDeployment(pod *corev1.Pod, rs *appsv1.ReplicaSet, d *appsv1.Deployment) (w workload, why string) {
	hash := pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	replicas := orOne(d.Spec.Replicas)
	status := d.Status
	switch {
	case d.DeletionTimestamp != nil || rs.DeletionTimestamp != nil:
		return workload{}, isGone
	case d.Spec.Paused:
		return workload{}, isPaused
	case !isCurrent(d, rs) || hash == "":
		return workload{}, oldRevision
	case status.ObservedGeneration < d.Generation || status.Replicas != replicas ||
		status.UpdatedReplicas != replicas || status.ReadyReplicas != replicas ||
		status.AvailableReplicas != replicas || status.UnavailableReplicas != 0 ||
		orOne(rs.Spec.Replicas) != replicas:
		return workload{}, notAtRest
	}
	w = workload{
		object: reference("apps/v1", "Deployment", d), template: &d.Spec.Template.Spec, deployment: d, replicaSet: rs,
	}
	// Without the label in its selector, the ReplicaSet would not release the Pod.
	w.surge = surges(d) && rs.Spec.Selector != nil &&
		rs.Spec.Selector.MatchLabels[appsv1.DefaultDeploymentUniqueLabelKey] == hash
	return w.withReplicas(replicas)
}

// surges reports whether an update of the Deployment may create Pods before it deletes others.
func surges(d *appsv1.Deployment) bool {
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || d.Spec.Strategy.RollingUpdate == nil {
		return false
	}
	most := d.Spec.Strategy.RollingUpdate.MaxSurge
	if most == nil {
		return true // The API server sets 25%.
	}
	count, err := intstr.GetScaledValueFromIntOrPercent(most, int(orOne(d.Spec.Replicas)), true)
	return err == nil && count > 0
}

// withReplicas returns the workload unless an eviction would leave no replica.
func (w workload) withReplicas(replicas int32) (workload, string) {
	if !w.surge && replicas < 2 {
		return workload{}, fewReplicas
	}
	return w, ""
}

// ofReplicaSet is ofDeployment for a ReplicaSet without a Deployment.
func ofReplicaSet(rs *appsv1.ReplicaSet) (workload, string) {
	replicas, status := orOne(rs.Spec.Replicas), rs.Status
	switch {
	case rs.DeletionTimestamp != nil:
		return workload{}, isGone
	case status.ObservedGeneration < rs.Generation || status.Replicas != replicas || status.ReadyReplicas != replicas ||
		status.AvailableReplicas != replicas:
		return workload{}, notAtRest
	}
	return workload{
		object: reference("apps/v1", "ReplicaSet", rs), template: &rs.Spec.Template.Spec,
	}.withReplicas(replicas)
}

// ofStatefulSet is ofDeployment for a StatefulSet.
func ofStatefulSet(pod *corev1.Pod, s *appsv1.StatefulSet) (workload, string) {
	replicas, status := orOne(s.Spec.Replicas), s.Status
	switch {
	case s.DeletionTimestamp != nil:
		return workload{}, isGone
	case pod.Labels[appsv1.ControllerRevisionHashLabelKey] != status.UpdateRevision:
		return workload{}, oldRevision
	case status.ObservedGeneration < s.Generation || status.CurrentRevision != status.UpdateRevision ||
		status.Replicas != replicas || status.ReadyReplicas != replicas || status.AvailableReplicas != replicas:
		return workload{}, notAtRest
	}
	return workload{
		object: reference("apps/v1", "StatefulSet", s), template: &s.Spec.Template.Spec,
	}.withReplicas(replicas)
}

// ofReplicationController is ofDeployment for a ReplicationController.
func ofReplicationController(rc *corev1.ReplicationController) (workload, string) {
	replicas, status := orOne(rc.Spec.Replicas), rc.Status
	switch {
	case rc.DeletionTimestamp != nil || rc.Spec.Template == nil:
		return workload{}, isGone
	case status.ObservedGeneration < rc.Generation || status.Replicas != replicas || status.ReadyReplicas != replicas ||
		status.AvailableReplicas != replicas:
		return workload{}, notAtRest
	}
	return workload{
		object: reference("v1", "ReplicationController", rc), template: &rc.Spec.Template.Spec,
	}.withReplicas(replicas)
}

func orOne(replicas *int32) int32 {
	if replicas == nil {
		return 1
	}
	return *replicas
}

// controllerOf returns the controller of a Pod if Pods of its kind may move.
func controllerOf(pod *corev1.Pod) (kind, name string, uid types.UID, ok bool) {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return "", "", "", false
	}
	switch owner.APIVersion + " " + owner.Kind {
	case "apps/v1 ReplicaSet", "apps/v1 StatefulSet", "v1 ReplicationController":
		return owner.Kind, owner.Name, owner.UID, true
	}
	return "", "", "", false
}
