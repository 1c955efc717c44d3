package orphans

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// copyAll creates a mirror of each kind in the cloud.
func copyAll(t *testing.T, cloud *cloudtest.Cloud, owner identity.Owner) {
	t.Helper()
	mirror := func(kind identity.MirrorKind) identity.Mirror {
		return identity.Mirror{Kind: kind, Namespace: "ns", Name: "x"}
	}
	for kind, data := range map[identity.MirrorKind]*cci.Data{
		identity.MirrorConfigMap: {Kind: cci.ConfigMap},
		identity.MirrorSecret:    {Kind: cci.Secret, Type: corev1.SecretTypeOpaque},
	} {
		data.ObjectMeta = owner.MirrorMeta(mirror(kind), "1")
		_, err := cloud.Client.CreateData(t.Context(), cloudtest.Namespace, data)
		require.NoError(t, err)
	}
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	meta := owner.MirrorMeta(mirror(identity.MirrorClaim), "1")
	volume := &cci.PersistentVolume{ObjectMeta: meta, Spec: cci.PersistentVolumeSpec{
		AccessModes: modes, Capacity: size, CSI: &cci.CSIVolume{Driver: "nas.csi.everest.io", VolumeHandle: "share"},
	}}
	_, err := cloud.Client.CreateVolume(t.Context(), volume)
	require.NoError(t, err)
	claim := &cci.PersistentVolumeClaim{ObjectMeta: meta, Spec: cci.PersistentVolumeClaimSpec{
		AccessModes: modes, VolumeName: meta.Name, Resources: cci.Resources{Requests: size},
	}}
	_, err = cloud.Client.CreateClaim(t.Context(), cloudtest.Namespace, claim)
	require.NoError(t, err)
}

func TestOnlyMirrorsOfDeletedNodesAreDeleted(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t, cloudtest.EveryAPI)
	for _, owner := range []identity.Owner{
		{ClusterID: "mine", Node: "gone"}, {ClusterID: "mine", Node: "live"}, {ClusterID: "theirs", Node: "gone"},
	} {
		copyAll(t, cloud, owner)
	}
	isGone := func(_ context.Context, name string) (bool, error) { return name == "gone", nil }
	finder := &Finder{Cloud: cloud.Client, Namespace: cloudtest.Namespace, ClusterID: "mine", Gone: isGone}
	find := func() []Mirror {
		t.Helper()
		found, err := finder.FindMirrors(t.Context())
		require.NoError(t, err)
		return found
	}
	found := find()
	assert.Len(t, found, 4, "of a ConfigMap, a Secret, a claim and its volume")
	for _, c := range found {
		assert.Equal(t, "gone", c.Node)
	}

	finder.Gone = func(context.Context, string) (bool, error) { return false, errors.New("the API server is away") }
	_, err := finder.FindMirrors(t.Context())
	require.ErrorContains(t, err, "the API server is away", "after an error nothing is deleted")
	finder.Gone = isGone

	sweep := NewSweep(SweepConfig{Finder: finder, Logger: slog.New(slog.DiscardHandler)})
	sweep.sweepMirrors(t.Context())
	assert.Len(t, find(), 4, "one comparison deletes nothing")
	sweep.sweepMirrors(t.Context())
	require.Eventually(t, func() bool { return len(find()) == 0 }, cloudtest.Timeout, cloudtest.Tick)
	finder.Gone = nil
	assert.Len(t, find(), 4, "those of the other node are kept")
	finder.ClusterID = "theirs"
	assert.Len(t, find(), 4, "and those of the other cluster")
}

func TestMirrorsAreKeptWhileTheirNodeHasCloudPods(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t, cloudtest.EveryAPI)
	copyAll(t, cloud, identity.Owner{ClusterID: "mine", Node: "node"})
	put(t, cloud, "mine", identity.Key{Namespace: "ns", Name: "web", UID: "1"})
	finder := &Finder{Cloud: cloud.Client, Namespace: cloudtest.Namespace, ClusterID: "mine"}
	found, err := finder.FindMirrors(t.Context())
	require.NoError(t, err)
	assert.Empty(t, found)
}

func TestMirrorsAreFoundInARegionWithoutVolumes(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t, cloudtest.EveryAPI)
	copyAll(t, cloud, identity.Owner{ClusterID: "mine", Node: "node"})
	cloud.Behave(t, func(p *ccisim.Policies) { p.NoVolumes = true })
	finder := &Finder{Cloud: cloud.Client, Namespace: cloudtest.Namespace, ClusterID: "mine"}
	finder.Unsure = func(err error) { assert.Fail(t, "the service says so", "%v", err) }
	found, err := finder.FindMirrors(t.Context())
	require.NoError(t, err)
	assert.Len(t, found, 2)
}

// A 404 of a proxy looks like that of a region without volumes.
func TestMirrorsOfClaimsMayExistAfterA404ThatDoesNotSayMore(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t, cloudtest.EveryAPI)
	copyAll(t, cloud, identity.Owner{ClusterID: "mine", Node: "node"})
	for _, resource := range []string{"/persistentvolumes$", "/persistentvolumeclaims$"} {
		lift := cloud.Fault(t, ccisim.Fault{Kind: ccisim.ServerError, Status: 404, HTML: true, Path: resource})
		var unsure []string
		finder := &Finder{Cloud: cloud.Client, Namespace: cloudtest.Namespace, ClusterID: "mine"}
		finder.Unsure = func(err error) { unsure = append(unsure, err.Error()) }
		found, err := finder.FindMirrors(t.Context())
		require.NoError(t, err)
		assert.Len(t, found, 2)
		require.Len(t, unsure, 1)
		assert.Contains(t, unsure[0], "the cloud answered 404")
		lift()
	}
}
