package policy

import corev1 "k8s.io/api/core/v1"

// VolumeKind is the kind of a PersistentVolume as Config.VolumeKinds names it: the CSI driver's name, or the field of its source.
// An unknown source is empty.
func VolumeKind(volume *corev1.PersistentVolume) string {
	source := &volume.Spec.PersistentVolumeSource
	if source.CSI != nil {
		return source.CSI.Driver
	}
	for _, kind := range []struct {
		name string
		set  bool
	}{
		{"nfs", source.NFS != nil},
		{"cephfs", source.CephFS != nil},
		{"hostPath", source.HostPath != nil},
		{"local", source.Local != nil},
		{"iscsi", source.ISCSI != nil},
		{"fc", source.FC != nil},
		{"rbd", source.RBD != nil},
		{"glusterfs", source.Glusterfs != nil},
		{"flexVolume", source.FlexVolume != nil},
	} {
		if kind.set {
			return kind.name
		}
	}
	return ""
}
