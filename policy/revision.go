package policy

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Revision is the set of Pods that share a quota: those of a ReplicaSet, of a controller revision of a StatefulSet, or
// of a Job. It is never a whole Deployment: during a rolling update the old Pods would hold all slots, and the update
// would end with no local replica.
type Revision struct {
	// Namespace is that of the Pods. A Pod can name any UID as its owner: with the UID of an owner in another namespace it
	// must not take that owner's slots.
	Namespace string
	// Owner is the UID of the controller, or of the Pod itself if it has no controller.
	Owner types.UID
	// Hash distinguishes the revisions of a controller that keeps its UID during an update.
	Hash string
}

// String returns a key for indexes, which is different for each revision.
func (r Revision) String() string { return r.Namespace + "/" + string(r.Owner) + "/" + r.Hash }

// RevisionOf returns the revision that a Pod belongs to.
func RevisionOf(pod *corev1.Pod) Revision {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return Revision{Namespace: pod.Namespace, Owner: pod.UID}
	}
	return Revision{
		Namespace: pod.Namespace, Owner: owner.UID, Hash: pod.Labels[appsv1.ControllerRevisionHashLabelKey],
	}
}
