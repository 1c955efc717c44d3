package ccisim_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/test/ccisim"
)

const (
	volumesPath = "/apis/cci/v2/persistentvolumes"
	claimsPath  = "/apis/cci/v2/namespaces/ns/persistentvolumeclaims"
)

func volumeBody(name, driver string) object {
	return object{"apiVersion": "cci/v2", "kind": "PersistentVolume", "metadata": object{"name": name}, "spec": object{
		"accessModes": []string{"ReadWriteMany"}, "capacity": object{"storage": "500Gi"}, "csi": object{"driver": driver,
			"volumeHandle": "share-1"},
	}}
}

func claimBody(name, volume string) object {
	return object{"apiVersion": "cci/v2", "kind": "PersistentVolumeClaim", "metadata": object{"name": name},
		"spec": object{
			"accessModes": []string{"ReadWriteMany"}, "volumeName": volume,
			"resources": object{"requests": object{"storage": "500Gi"}},
		}}
}

func TestPodWaitsForClaim(t *testing.T) {
	b := newNamespaceEnv(t)
	b.createPod("web", volume("persistentVolumeClaim", object{"claimName": "data"}))
	b.untilPod("web", "waits", func(*ccisim.Pod) bool { return len(b.eventReasons("web")) == 2 })
	b.want(http.StatusCreated, "POST", claimsPath, claimBody("data", "share"))
	var claim ccisim.PersistentVolumeClaim
	require.Equal(t, http.StatusOK, b.get(claimsPath+"/data", &claim))
	assert.Equal(t, corev1.ClaimPending, claim.Status.Phase)
	b.want(http.StatusCreated, "POST", volumesPath, volumeBody("share", "sfsturbo.csi.everest.io"))
	b.untilPhase("web", "Running")
	var share ccisim.PersistentVolume
	require.Equal(t, http.StatusOK, b.get(volumesPath+"/share", &share))
	assert.Equal(t, corev1.VolumeBound, share.Status.Phase)
	assert.Equal(t, corev1.PersistentVolumeReclaimRetain, share.Spec.PersistentVolumeReclaimPolicy)

	// Another claim does not get the volume, and this claim exists as long as the Pod.
	b.want(http.StatusCreated, "POST", claimsPath, claimBody("greedy", "share"))
	b.want(http.StatusOK, "DELETE", claimsPath+"/data", nil)
	require.Equal(t, http.StatusOK, b.get(claimsPath+"/data", &claim))
	assert.NotNil(t, claim.DeletionTimestamp)
	b.want(http.StatusOK, "DELETE", podsPath+"/web?gracePeriodSeconds=0", nil)
	b.eventually(func() bool {
		return b.get(claimsPath+"/data", &claim) == http.StatusNotFound
	}, "the claim is removed after its Pod")
	require.Equal(t, http.StatusOK, b.get(volumesPath+"/share", &share))
	assert.Equal(t, corev1.VolumeReleased, share.Status.Phase)
	require.Equal(t, http.StatusOK, b.get(claimsPath+"/greedy", &claim))
	assert.Equal(t, corev1.ClaimPending, claim.Status.Phase)
}

func TestRefusedVolumes(t *testing.T) {
	b := newNamespaceEnv(t)
	b.want(http.StatusForbidden, "POST", volumesPath, volumeBody("disk", "disk.csi.everest.io"))
	empty := volumeBody("none", "nas.csi.everest.io")
	empty["spec"] = object{}
	b.want(http.StatusUnprocessableEntity, "POST", volumesPath, empty)
	b.want(http.StatusUnprocessableEntity, "POST", claimsPath,
		object{"apiVersion": "cci/v2", "kind": "PersistentVolumeClaim", "metadata": object{"name": "none"}, "spec": object{}})
	require.NoError(t, b.sim.SetPolicies(ccisim.Policies{NoVolumes: true}))
	b.want(http.StatusNotFound, "GET", volumesPath, nil)
	b.want(http.StatusNotFound, "GET", claimsPath, nil)
}
