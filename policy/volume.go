package policy

import (
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// VolumeKind returns the kind of a PersistentVolume as Config.VolumeKinds names it: the name of the CSI driver, or the
// field of the volume source (nfs, cephfs, hostPath, …). It returns an empty string for a volume without a source.
func VolumeKind(volume *corev1.PersistentVolume) string {
	if csi := volume.Spec.CSI; csi != nil {
		return csi.Driver
	}
	// The source is a struct with one pointer for each kind. Reading the names from it follows the API.
	source := reflect.ValueOf(volume.Spec.PersistentVolumeSource)
	for i := range source.NumField() {
		if !source.Field(i).IsNil() {
			name, _, _ := strings.Cut(source.Type().Field(i).Tag.Get("json"), ",")
			return name
		}
	}
	return ""
}
