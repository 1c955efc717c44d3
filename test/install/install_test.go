package install

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/machine"
	"github.com/spillway-k8s/spillway/test/page"
	"github.com/spillway-k8s/spillway/test/stories"
)

var document = flag.String("document", "", "page for the figures, in its section install")

func TestMain(m *testing.M) { os.Exit(machine.Isolate(m.Run)) }

// TestInstall tests the life of one installation. Each part depends on the parts before it, so none runs after a
// failure.
func TestInstall(t *testing.T) {
	c := startCluster(t)
	measured := figures{footprints: map[string]footprint{}}
	for _, part := range []struct {
		name string
		play func(*testing.T)
	}{
		{"the first burst takes less than five minutes", func(t *testing.T) { c.playFirstBurst(t, &measured) }},
		{"helm test runs a Pod in the cloud", func(t *testing.T) { c.helm(t, "test", release, "--timeout=2m") }},
		{"a changed value adds a second virtual node", c.playSecondNode},
		{"the stories succeed", func(t *testing.T) { c.play(t, storiesForRealNodes()) }},
		{"the buffer is preempted before any Pod bursts", c.playBuffer},
		{"a change to two replicas affects no Pod", func(t *testing.T) { c.playPresets(t, &measured) }},
		{"a changed value turns the global switch", c.playSwitch},
		{"the access keys change without a restart", c.playRotation},
		{"nodes are drained", c.playDrains},
		{"an existing scheduler calls the extender over mutual TLS", c.playService},
		{"the previous release is upgraded", c.playPreviousRelease},
	} {
		if !t.Run(part.name, part.play) {
			return
		}
	}
	t.Log(measured.table())
	if *document != "" {
		require.NoError(t, page.Rewrite(*document, map[string]string{"install": measured.table()}))
	}
}

// storiesForRealNodes returns the stories that need only a cluster: they kill no program, and need neither a shell in
// the simulator nor a device of a node. The buffer is tested with its own chart, in a part of its own. If two
// schedulers share the nodes, the result of preemption varies, so that story runs only with the cluster's own
// scheduler.
func storiesForRealNodes() []stories.Story {
	need := []string{"commands", "placeholder", "restrictions", "daemonsets", "extender-down", "admission-down",
		preemption}
	return slices.DeleteFunc(append(stories.All(), stories.Further()...), func(s stories.Story) bool {
		return slices.Contains(need, s.Name)
	})
}

const preemption = "preemption"

// playFirstBurst installs the chart and then creates a Deployment at once.
func (c *cluster) playFirstBurst(t *testing.T, measured *figures) {
	begin := time.Now()
	c.helm(t, "install", release, chart, "--create-namespace", "--values=testdata/values.yaml", "--wait", "--timeout=2m")
	measured.ready = time.Since(begin).Seconds()
	c.kubectl(t, "apply", "--filename=testdata/burst.yaml")
	c.eventually(t, "the first Pod to run in the cloud", func(ctx context.Context) error {
		local, cloud, err := c.running(ctx, "burst")
		if cloud == 0 && err == nil {
			err = fmt.Errorf("%d run on local nodes, none in the cloud", local)
		}
		return err
	})
	measured.firstBurst = time.Since(begin).Seconds()
	c.eventually(t, "one replica to run on a local node, three in the cloud", c.runs("burst", 1, 3))
	measured.footprints[single] = c.footprint(t)
	measured.checkSmaller(t, single)
	c.kubectl(t, "delete", "--filename=testdata/burst.yaml", "--cascade=foreground")
}

// running counts the running Pods of an app.
func (c *cluster) running(ctx context.Context, app string) (local, cloud int, err error) {
	list, err := c.Client().CoreV1().Pods(metav1.NamespaceDefault).List(ctx,
		metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil {
		return 0, 0, fmt.Errorf("listing the Pods of %s: %w", app, err)
	}
	virtual, err := c.virtualNodes(ctx)
	if err != nil {
		return 0, 0, err
	}
	for _, pod := range list.Items {
		switch {
		case pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil:
		case slices.Contains(virtual, pod.Spec.NodeName):
			cloud++
		default:
			local++
		}
	}
	return local, cloud, nil
}

// runs checks where the Pods of an app run.
func (c *cluster) runs(app string, wantLocal, wantCloud int) func(context.Context) error {
	return func(ctx context.Context) error {
		local, cloud, err := c.running(ctx, app)
		if err == nil && (local != wantLocal || cloud != wantCloud) {
			err = fmt.Errorf("%d Pods of %s run on local nodes and %d in the cloud: want %d and %d",
				local, app, cloud, wantLocal, wantCloud)
		}
		return err
	}
}
