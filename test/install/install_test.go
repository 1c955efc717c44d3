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

var document = flag.String("document", "", "page to keep the figures in, between the marks of its section install")

func TestMain(m *testing.M) { os.Exit(machine.Isolate(m.Run)) }

// TestInstall is the life of one installation. Each part stands on those before it, and none is tried when one has failed.
func TestInstall(t *testing.T) {
	c := startCluster(t)
	measured := figures{footprints: map[string]footprint{}}
	for _, part := range []struct {
		name string
		play func(*testing.T)
	}{
		{"five minutes are enough for the first burst", func(t *testing.T) { c.playFirstBurst(t, &measured) }},
		{"helm test sends a Pod to the cloud and back", func(t *testing.T) { c.helm(t, "test", release, "--timeout=2m") }},
		{"a second virtual node comes by a changed value", c.playSecondNode},
		{"the stories of the seeds come true", func(t *testing.T) { c.play(t, storiesOfTheSeeds()) }},
		{"the buffer gives way before anything bursts", c.playBuffer},
		{"two of everything take over and disturb nobody", func(t *testing.T) { c.playPresets(t, &measured) }},
		{"a changed value turns the global switch", c.playSwitch},
		{"keys of the cloud change and nothing restarts", c.playRotation},
		{"nodes are drained", c.playDrains},
		{"a scheduler that is there already asks over mutual TLS", c.playService},
		{"the release before is upgraded", c.playPreviousRelease},
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

// storiesOfTheSeeds are those that need no more than a cluster: no program is killed, nothing needs a shell in the simulator or a device
// of a node. The buffer comes from its own chart, in a part of its own. And where two schedulers fill one node, preemption has no one outcome: that
// story is for the cluster's own scheduler alone.
func storiesOfTheSeeds() []stories.Story {
	need := []string{"commands", "placeholder", "restrictions", "daemonsets", "extender-down", "admission-down", preemption}
	return slices.DeleteFunc(append(stories.All(), stories.Further()...), func(s stories.Story) bool { return slices.Contains(need, s.Name) })
}

const preemption = "preemption"

// playFirstBurst installs the chart and starts the Deployment of the seed at once.
func (c *cluster) playFirstBurst(t *testing.T, measured *figures) {
	begin := time.Now()
	c.helm(t, "install", release, chart, "--create-namespace", "--values=testdata/values.yaml", "--wait", "--timeout=2m")
	measured.ready = time.Since(begin).Seconds()
	c.kubectl(t, "apply", "--filename=testdata/burst.yaml")
	c.eventually(t, "the first Pod to run in the cloud", func(ctx context.Context) error {
		home, cloud, err := c.running(ctx, "burst")
		if cloud == 0 && err == nil {
			err = fmt.Errorf("%d run at home, none in the cloud", home)
		}
		return err
	})
	measured.firstBurst = time.Since(begin).Seconds()
	c.eventually(t, "one replica to run at home, three in the cloud", c.runs("burst", 1, 3))
	measured.footprints[single] = c.footprint(t)
	measured.checkSmaller(t, single)
	c.kubectl(t, "delete", "--filename=testdata/burst.yaml", "--cascade=foreground")
}

// running counts the Pods of an app that run.
func (c *cluster) running(ctx context.Context, app string) (home, cloud int, err error) {
	list, err := c.Client().CoreV1().Pods(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
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
			home++
		}
	}
	return home, cloud, nil
}

// runs checks where the Pods of an app run.
func (c *cluster) runs(app string, wantHome, wantCloud int) func(context.Context) error {
	return func(ctx context.Context) error {
		home, cloud, err := c.running(ctx, app)
		if err == nil && (home != wantHome || cloud != wantCloud) {
			err = fmt.Errorf("%d Pods of %s run at home and %d in the cloud: want %d and %d", home, app, cloud, wantHome, wantCloud)
		}
		return err
	}
}
