package policy

import (
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// VolumeKind is the kind of a PersistentVolume as Config.VolumeKinds names it: the CSI driver's name, or the field of its source
// (nfs, cephfs, hostPath, …). A volume without a source is empty.
func VolumeKind(volume *corev1.PersistentVolume) string {
	if csi := volume.Spec.CSI; csi != nil {
		return csi.Driver
	}
	// The source is a struct of one pointer per kind; reading the names off it keeps up with the API.
	source := reflect.ValueOf(volume.Spec.PersistentVolumeSource)
	for i := range source.NumField() {
		if !source.Field(i).IsNil() {
			name, _, _ := strings.Cut(source.Type().Field(i).Tag.Get("json"), ",")
			return name
		}
	}
	return ""
}
