package integration

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

// keepsSnapshots lets a virtual node make snapshots as often as it may.
func keepsSnapshots(c *Config) {
	c.CCI.ImageSnapshots.AutoMatch, c.CCI.ImageSnapshots.Keep = true, 10
	c.CCI.ImageSnapshots.Interval.Duration = time.Second
}

func snapshotsIn(t *testing.T, cloud *cloudtest.Cloud) []cci.ImageSnapshot {
	t.Helper()
	all, err := cloud.Client.ListSnapshots(t.Context(), cci.ListOptions{})
	require.NoError(t, err)
	return all
}

func TestAVirtualNodeKeepsSnapshotsOfTheImagesThatItsPodsUse(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t, cloudtest.EveryAPI)
	ns := namespace(t)
	v, config := runningOn(t, cloud, ns, "snapshots", keepsSnapshots)
	for _, name := range []string{"web-0", "web-1"} {
		pod := podOn(v.name(), name)
		pod.Spec.Containers[0].Image = "nginx:1.31" // One without a tag is always pulled.
		create(t, ns, pod)
	}
	eventually(t, func() error {
		if n := v.metric(t, "spillway_vnode_image_snapshots", "available"); n != 1 {
			return fmt.Errorf("%g snapshots are available of %v", n, snapshotsIn(t, cloud))
		}
		return nil
	})
	all := snapshotsIn(t, cloud)
	require.Len(t, all, 1)
	assert.Equal(t, []cci.SnapshotImage{{Image: "nginx:1.31"}}, all[0].Spec.Images)
	v.stop(t)

	out, err := uninstall(t, config)
	require.NoError(t, err, out)
	assert.Contains(t, out, "1 image snapshots of former virtual nodes deleted.\n")
	assert.Contains(t, out, "Cloud namespace cci-test deleted.\n")
	assert.Empty(t, snapshotsIn(t, cloud))
}

func TestARegionWithoutImageSnapshotsRunsPods(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t, func(c *ccisim.Config) { c.Policies.Unpublished = []string{"imagesnapshots"} })
	v, ns := startOn(t, cloud, keepsSnapshots)
	create(t, ns, podOn(v.name(), "web-0"))
	await(t, ns, "web-0", isReady)
	eventually(t, func() error {
		if cloud.CountRequests("list", "imagesnapshots", 404) == 0 {
			return errors.New("the region has not been asked yet")
		}
		return nil
	})
	await(t, ns, "web-0", isReady)
	require.NoError(t, v.get("/readyz"))
}
