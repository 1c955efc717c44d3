package policy_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

func TestVolumeKind(t *testing.T) {
	cases := map[string]struct {
		source corev1.PersistentVolumeSource
		want   string
	}{
		"a CSI volume is its driver": {
			corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "sfsturbo.csi.everest.io"}},
			"sfsturbo.csi.everest.io",
		},
		"nfs": {corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{}}, "nfs"},
		"cephfs": {
			corev1.PersistentVolumeSource{CephFS: &corev1.CephFSPersistentVolumeSource{}},
			"cephfs",
		},
		"hostPath":                  {corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{}}, "hostPath"},
		"a volume without a source": {corev1.PersistentVolumeSource{}, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			volume := &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: tc.source}}
			assert.Equal(t, tc.want, policy.VolumeKind(volume))
		})
	}
}

// Every kind of volume that Kubernetes knows has a name, or a Pod would wait for a volume that has long been bound.
func TestVolumeKindKnowsEverySource(t *testing.T) {
	kinds := map[string]bool{}
	fields := reflect.TypeFor[corev1.PersistentVolumeSource]()
	for i := range fields.NumField() {
		var volume corev1.PersistentVolume
		field := reflect.ValueOf(&volume.Spec.PersistentVolumeSource).Elem().Field(i)
		field.Set(reflect.New(field.Type().Elem()))
		if volume.Spec.CSI != nil {
			volume.Spec.CSI.Driver = "csi"
		}
		kind := policy.VolumeKind(&volume)
		assert.NotEmpty(t, kind, fields.Field(i).Name)
		assert.True(t, strings.EqualFold(kind, fields.Field(i).Name), "%s is called %q", fields.Field(i).Name, kind)
		kinds[kind] = true
	}
	assert.Len(t, kinds, fields.NumField(), "no two kinds have one name")
}
