package ccisim

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// volumeDrivers are what the service can mount. Source: the bursting plug-in's manual, "storage": SFS and SFS Turbo, through CSI only.
var volumeDrivers = []string{"nas.csi.everest.io", "sfsturbo.csi.everest.io"}

// claimFinalizer keeps a claim for as long as a Pod uses it, as in Kubernetes.
const claimFinalizer = "kubernetes.io/pvc-protection"

// volumeStrategy: a volume is Available, then Bound to the one claim that names it, then Released.
type volumeStrategy struct {
	plain
	forCreate, forUpdate fields
}

func (volumeStrategy) empty() object          { return &PersistentVolume{} }
func (v volumeStrategy) createFields() fields { return v.forCreate }
func (v volumeStrategy) updateFields() fields { return v.forUpdate }

func (volumeStrategy) prepare(_ *Sim, _ *Credential, obj object) *apiError {
	volume := obj.(*PersistentVolume)
	spec, path := &volume.Spec, field.NewPath("spec")
	var errs field.ErrorList
	if spec.CSI == nil {
		return invalid(volumes, volume.Name, append(errs, field.Required(path.Child("csi"), "")))
	}
	if spec.CSI.VolumeHandle == "" {
		errs = append(errs, field.Required(path.Child("csi", "volumeHandle"), ""))
	}
	if len(spec.AccessModes) == 0 {
		errs = append(errs, field.Required(path.Child("accessModes"), ""))
	}
	if len(spec.Capacity) == 0 {
		errs = append(errs, field.Required(path.Child("capacity"), ""))
	}
	if len(errs) > 0 {
		return invalid(volumes, volume.Name, errs)
	}
	if !slices.Contains(volumeDrivers, spec.CSI.Driver) {
		return forbidden(volumes, volume.Name, "driver %q is not supported", spec.CSI.Driver)
	}
	setDefault(&spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
	volume.Status.Phase = corev1.VolumeAvailable
	return nil
}

// created has the claims looked at that wait for the volume. Holds mu.
func (volumeStrategy) created(s *Sim, _ *Credential, obj object) {
	for k, e := range s.store.tables[claims].items {
		if e.obj.(*PersistentVolumeClaim).Spec.VolumeName == obj.GetName() {
			s.poke(claims, k)
		}
	}
}

// claimStrategy: a claim is Pending until the volume that it names is there and free. Volumes are not made to order: which classes the
// service has is not documented.
type claimStrategy struct {
	plain
	forCreate, forUpdate fields
}

func (claimStrategy) empty() object          { return &PersistentVolumeClaim{} }
func (c claimStrategy) createFields() fields { return c.forCreate }
func (c claimStrategy) updateFields() fields { return c.forUpdate }

func (claimStrategy) prepare(_ *Sim, _ *Credential, obj object) *apiError {
	claim := obj.(*PersistentVolumeClaim)
	var errs field.ErrorList
	if len(claim.Spec.AccessModes) == 0 {
		errs = append(errs, field.Required(field.NewPath("spec", "accessModes"), ""))
	}
	if _, ok := claim.Spec.Resources.Requests[corev1.ResourceStorage]; !ok {
		errs = append(errs, field.Required(field.NewPath("spec", "resources", "requests", "storage"), ""))
	}
	if len(errs) > 0 {
		return invalid(claims, claim.Name, errs)
	}
	claim.Finalizers = []string{claimFinalizer}
	claim.Status.Phase = corev1.ClaimPending
	return nil
}

func (claimStrategy) finalize(s *Sim, obj object, _ *metav1.DeleteOptions) object {
	next := obj.copyObject().(*PersistentVolumeClaim)
	if next.DeletionTimestamp == nil {
		now := metav1.NewTime(s.now())
		next.DeletionTimestamp = &now
	}
	return next
}

// advance binds the claim, or lets it go when no Pod uses it any more. Holds mu.
func (claimStrategy) advance(s *Sim, obj object) step {
	claim := obj.(*PersistentVolumeClaim)
	volume, _ := s.store.get(volumes, key{name: claim.Spec.VolumeName}).(*PersistentVolume)
	switch {
	case claim.DeletionTimestamp != nil && s.isClaimed(claim):
		return step{}
	case claim.DeletionTimestamp != nil:
		s.release(claim, volume)
		return step{next: claim.copyObject(), gone: true}
	case claim.Status.Phase == corev1.ClaimBound || volume == nil || !isFor(volume, claim):
		return step{}
	}
	s.bind(claim, volume)
	next := claim.copyObject().(*PersistentVolumeClaim)
	next.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, AccessModes: volume.Spec.AccessModes, Capacity: volume.Spec.Capacity}
	s.pokeHeld()
	return step{next: next}
}

// isFor tells whether a volume is free for the claim, or the claim's.
func isFor(volume *PersistentVolume, claim *PersistentVolumeClaim) bool {
	ref := volume.Spec.ClaimRef
	return ref == nil || (ref.Namespace == claim.Namespace && ref.Name == claim.Name && (ref.UID == "" || ref.UID == claim.UID))
}

func (s *Sim) bind(claim *PersistentVolumeClaim, volume *PersistentVolume) {
	next := volume.copyObject().(*PersistentVolume)
	next.Spec.ClaimRef = &corev1.ObjectReference{
		APIVersion: s.apiVersion(claims), Kind: claims.kind, Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
	}
	next.Status.Phase = corev1.VolumeBound
	s.put(volumes, next)
}

func (s *Sim) release(claim *PersistentVolumeClaim, volume *PersistentVolume) {
	if volume == nil || volume.Spec.ClaimRef == nil || volume.Spec.ClaimRef.UID != claim.UID {
		return
	}
	next := volume.copyObject().(*PersistentVolume)
	next.Status.Phase = corev1.VolumeReleased
	s.put(volumes, next)
}

// isClaimed tells whether a Pod mounts the claim. Holds mu.
func (s *Sim) isClaimed(claim *PersistentVolumeClaim) bool {
	for _, e := range s.store.tables[pods].sorted(claim.Namespace) {
		pod := e.obj.(*Pod)
		for _, volume := range pod.Spec.Volumes {
			if ref := volume.PersistentVolumeClaim; ref != nil && ref.ClaimName == claim.Name && !isFinished(pod) {
				return true
			}
		}
	}
	return false
}

// pokeClaims has the claims of a namespace looked at that are to go: a Pod is gone. Holds mu.
func (s *Sim) pokeClaims(namespace string) {
	for k, e := range s.store.tables[claims].items {
		if k.namespace == namespace && e.obj.GetDeletionTimestamp() != nil {
			s.poke(claims, k)
		}
	}
}
