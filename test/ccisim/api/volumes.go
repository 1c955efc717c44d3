package api

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

// volumeDrivers are the drivers of volumes that the service can mount: SFS and SFS Turbo, through CSI only. Source: the
// manual of the bursting plug-in, "storage".
var volumeDrivers = []string{"nas.csi.everest.io", "sfsturbo.csi.everest.io"}

// claimFinalizer keeps a claim while a Pod uses it, as in Kubernetes.
const claimFinalizer = "kubernetes.io/pvc-protection"

// volumeAdmission admits volumes. A volume is Available, then Bound to the one claim that names it, then Released.
type volumeAdmission struct{ plain }

func (volumeAdmission) prepare(_ *Server, _ *Credential, obj objects.Object) *apiError {
	volume := obj.(*objects.PersistentVolume)
	spec, path := &volume.Spec, field.NewPath("spec")
	var errs field.ErrorList
	if spec.CSI == nil {
		return invalid(objects.Volumes, volume.Name, append(errs, field.Required(path.Child("csi"), "")))
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
		return invalid(objects.Volumes, volume.Name, errs)
	}
	if !slices.Contains(volumeDrivers, spec.CSI.Driver) {
		return forbidden(objects.Volumes, volume.Name, "driver %q is not supported", spec.CSI.Driver)
	}
	spec.PersistentVolumeReclaimPolicy = cmp.Or(spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
	volume.Status.Phase = corev1.VolumeAvailable
	return nil
}

// claimAdmission admits claims. A claim is Pending until the volume that it names exists and is free.
type claimAdmission struct{ plain }

func (claimAdmission) prepare(_ *Server, _ *Credential, obj objects.Object) *apiError {
	claim := obj.(*objects.PersistentVolumeClaim)
	var errs field.ErrorList
	if len(claim.Spec.AccessModes) == 0 {
		errs = append(errs, field.Required(field.NewPath("spec", "accessModes"), ""))
	}
	if _, ok := claim.Spec.Resources.Requests[corev1.ResourceStorage]; !ok {
		errs = append(errs, field.Required(field.NewPath("spec", "resources", "requests", "storage"), ""))
	}
	if len(errs) > 0 {
		return invalid(objects.Claims, claim.Name, errs)
	}
	claim.Finalizers = []string{claimFinalizer}
	claim.Status.Phase = corev1.ClaimPending
	return nil
}
