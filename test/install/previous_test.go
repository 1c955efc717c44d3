package install

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/machine"
)

// previous is the chart of the previous release, as packaged by `helm package`. It is replaced with each release.
// Before the first release it is a chart of November 2026, with which the current programs run. They run from current
// images: the test is about how Helm upgrades the objects of one chart to those of the other.
const previous = "testdata/previous.tgz"

// playPreviousRelease installs the previous release and upgrades it while a Deployment runs.
func (c *cluster) playPreviousRelease(t *testing.T) {
	c.helm(t, "uninstall", release, "--wait", "--timeout=3m")
	c.eventually(t, "the Pods of Spillway to be gone", func(ctx context.Context) error {
		pods, err := c.own(ctx)
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("%d still exist", len(pods))
		}
		return err
	})
	version, err := machine.AppVersion(chart)
	require.NoError(t, err)
	c.helm(t, "install", release, previous, "--values=testdata/values.yaml", "--set=image.tag="+version, "--wait",
		"--timeout=2m")
	c.kubectl(t, "apply", "--filename=testdata/burst.yaml")
	c.eventually(t, "one replica to run on a local node, three in the cloud", c.runs("burst", 1, 3))
	local := c.localNodeOf(t, "burst")
	c.upgrade(t)
	// The upgrade replaces the simulator, which then loses its Pods. Their ReplicaSet replaces them.
	c.eventually(t, "one replica to run on a local node, three in the cloud", c.runs("burst", 1, 3))
	require.Equal(t, local, c.localNodeOf(t, "burst"), "the local replica ran before the upgrade")
	c.kubectl(t, "scale", "deployment", "burst", "--replicas=6")
	c.eventually(t, "the quota to hold after the upgrade", c.runs("burst", 1, 5))
	c.helm(t, "test", release, "--timeout=2m")
	c.kubectl(t, "delete", "--filename=testdata/burst.yaml", "--cascade=foreground")
}
