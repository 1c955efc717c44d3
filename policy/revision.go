package policy

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Revision is what a quota is counted on: the owning ReplicaSet, the controller revision of a StatefulSet, the Job. Never the
// Deployment as a whole, or a rolling update ends with no local replica: the old Pods hold all the slots while the new ones come.
type Revision struct {
	// Owner is the UID of the controlling object, or the Pod's own where nothing controls it.
	Owner types.UID
	// Hash tells the revisions of an owner apart that keeps its UID over an update.
	Hash string
}

// String is a key for indexes: it differs where the revisions do.
func (r Revision) String() string { return string(r.Owner) + "/" + r.Hash }

// RevisionOf says which revision a Pod belongs to.
func RevisionOf(pod *corev1.Pod) Revision {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return Revision{Owner: pod.UID}
	}
	return Revision{Owner: owner.UID, Hash: pod.Labels[appsv1.ControllerRevisionHashLabelKey]}
}
