package podlife

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// reconcileClaim binds a claim to the volume that it names, and removes a deleted claim when no Pod uses it any more.
// Volumes are not provisioned: which classes the service has is not documented.
func (c *Controller) reconcileClaim(tx store.Tx, claim *objects.PersistentVolumeClaim) result {
	volume, _ := tx.Get(objects.Volumes, types.NamespacedName{Name: claim.Spec.VolumeName}).(*objects.PersistentVolume)
	switch {
	case claim.DeletionTimestamp != nil && isUsed(tx, claim):
		return result{}
	case claim.DeletionTimestamp != nil:
		c.release(tx, claim, volume)
		return result{next: claim.CopyObject(), gone: true}
	case claim.Status.Phase == corev1.ClaimBound || volume == nil || !isFor(volume, claim):
		return result{}
	}
	c.bind(tx, claim, volume)
	next := claim.CopyObject().(*objects.PersistentVolumeClaim)
	next.Status = corev1.PersistentVolumeClaimStatus{
		Phase: corev1.ClaimBound, AccessModes: volume.Spec.AccessModes, Capacity: volume.Spec.Capacity,
	}
	c.enqueueWaiting(tx)
	return result{next: next}
}

// isFor reports whether a volume is reserved for the claim, or for none.
func isFor(volume *objects.PersistentVolume, claim *objects.PersistentVolumeClaim) bool {
	ref := volume.Spec.ClaimRef
	return ref == nil ||
		(ref.Namespace == claim.Namespace && ref.Name == claim.Name && (ref.UID == "" || ref.UID == claim.UID))
}

func (c *Controller) bind(tx store.Tx, claim *objects.PersistentVolumeClaim, volume *objects.PersistentVolume) {
	next := volume.CopyObject().(*objects.PersistentVolume)
	next.Spec.ClaimRef = &corev1.ObjectReference{
		APIVersion: tx.Generation().APIVersion(objects.Claims), Kind: objects.Claims.Kind,
		Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
	}
	next.Status.Phase = corev1.VolumeBound
	c.put(tx, objects.Volumes, next)
}

func (c *Controller) release(tx store.Tx, claim *objects.PersistentVolumeClaim, volume *objects.PersistentVolume) {
	if volume == nil || volume.Spec.ClaimRef == nil || volume.Spec.ClaimRef.UID != claim.UID {
		return
	}
	next := volume.CopyObject().(*objects.PersistentVolume)
	next.Status.Phase = corev1.VolumeReleased
	c.put(tx, objects.Volumes, next)
}

// isUsed reports whether a Pod that is not finished mounts the claim.
func isUsed(tx store.Tx, claim *objects.PersistentVolumeClaim) bool {
	for _, e := range tx.Sorted(objects.Pods, claim.Namespace) {
		pod := e.Object.(*objects.Pod)
		for _, volume := range pod.Spec.Volumes {
			ref := volume.PersistentVolumeClaim
			if ref != nil && ref.ClaimName == claim.Name && !objects.IsFinished(pod) {
				return true
			}
		}
	}
	return false
}

// enqueueClaimsOf enqueues the claims that name a volume.
func (c *Controller) enqueueClaimsOf(tx store.Tx, volume string) {
	for obj := range tx.All(objects.Claims) {
		if obj.(*objects.PersistentVolumeClaim).Spec.VolumeName == volume {
			c.Enqueue(tx, objects.Claims, objects.KeyOf(obj))
		}
	}
}

// enqueueDeletedClaims enqueues the deleted claims of a namespace, which a removed Pod may have used.
func (c *Controller) enqueueDeletedClaims(tx store.Tx, namespace string) {
	for obj := range tx.All(objects.Claims) {
		if obj.GetNamespace() == namespace && obj.GetDeletionTimestamp() != nil {
			c.Enqueue(tx, objects.Claims, objects.KeyOf(obj))
		}
	}
}
