package orphans

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// snapshot creates an image snapshot.
func snapshot(t *testing.T, cloud *cloudtest.Cloud, meta metav1.ObjectMeta, image string) {
	t.Helper()
	_, err := cloud.Client.CreateSnapshot(t.Context(), &cci.ImageSnapshot{
		ObjectMeta: meta, Spec: cci.ImageSnapshotSpec{
			BuildingConfig: cci.SnapshotBuilding{Namespace: cloudtest.Namespace}, SizeGiB: 30,
			Images: []cci.SnapshotImage{{Image: image}}, Registries: []cci.SnapshotRegistry{{Server: "docker.io"}},
		},
	})
	require.NoError(t, err)
}

func TestOnlyImageSnapshotsOfDeletedNodesAreDeleted(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t, cloudtest.EveryAPI)
	for image, owner := range map[string]identity.Owner{
		"a": {ClusterID: "mine", Node: "gone"}, "b": {ClusterID: "mine", Node: "live"},
		"c": {ClusterID: "theirs", Node: "gone"},
	} {
		snapshot(t, cloud, owner.SnapshotMeta(image), image)
	}
	snapshot(t, cloud, metav1.ObjectMeta{Name: "someones"}, "d")
	isGone := func(_ context.Context, name string) (bool, error) { return name == "gone", nil }
	finder := &Finder{
		Cloud: cloud.Client, Namespace: cloudtest.Namespace, ClusterID: "mine", Gone: isGone, Snapshots: true,
	}
	find := func() (images []string) {
		t.Helper()
		found, err := finder.FindSnapshots(t.Context())
		require.NoError(t, err)
		for _, s := range found {
			images = append(images, s.Spec.Images[0].Image)
		}
		return images
	}
	assert.Equal(t, []string{"a"}, find())

	finder.Gone = func(context.Context, string) (bool, error) { return false, errors.New("the API server is away") }
	_, err := finder.FindSnapshots(t.Context())
	require.ErrorContains(t, err, "the API server is away", "after an error nothing is deleted")
	finder.Gone = isGone

	sweep := NewSweep(SweepConfig{Finder: finder, Logger: slog.New(slog.DiscardHandler)})
	sweep.sweepSnapshots(t.Context())
	assert.Equal(t, []string{"a"}, find(), "one comparison deletes nothing")
	sweep.sweepSnapshots(t.Context())
	require.Eventually(t, func() bool { return len(find()) == 0 }, cloudtest.Timeout, cloudtest.Tick)
	finder.Gone = nil
	assert.Equal(t, []string{"b"}, find(), "that of the other node is kept")
	finder.ClusterID = "theirs"
	assert.Equal(t, []string{"c"}, find(), "and that of the other cluster")
}

func TestARegionWithoutImageSnapshotsHasNone(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t, cloudtest.EveryAPI)
	finder := &Finder{Cloud: cloud.Client, Namespace: cloudtest.Namespace, ClusterID: "mine", Snapshots: true}
	for name, policies := range map[string]ccisim.Policies{
		"the API server does not know them": {NoSnapshots: true},
		"the gateway does not know them":    {Unpublished: []string{"imagesnapshots"}},
	} {
		require.NoError(t, cloud.SetPolicies(policies))
		found, err := finder.FindSnapshots(t.Context())
		require.NoError(t, err, name)
		assert.Empty(t, found, name)
	}
}
