// Package e2e contains the end-to-end tests: the stories of the demonstration, and bursts with and without failures, on
// a real control plane with all of Spillway's programs and the simulated cloud.
package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/stories"
	"github.com/spillway-k8s/spillway/test/system"
)

var (
	update     = flag.Bool("update", false, "rewrite the golden files")
	kubernetes = flag.String("kubernetes", "", "version of the control plane, such as 1.34; empty for the newest")
)

// newWorld starts a system for one test.
func newWorld(
	t *testing.T, shape system.Shape, change ...func(*system.Config),
) (*stories.World, *system.System) {
	t.Helper()
	binDir, err := system.FindBinDir()
	require.NoError(t, err)
	shape.Kubernetes = *kubernetes
	config := system.Config{
		Dir: t.TempDir(), BinDir: binDir, Shape: shape, Scheduler: stories.AddTKEScheduler, DieWithParent: true,
		Args:     map[string][]string{system.Admission: {"--other-scheduler-names", stories.TKEScheduler}},
		Progress: t.Output(),
	}
	for _, f := range change {
		f(&config)
	}
	s, err := system.Start(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			printLogs(t, s)
		}
		assert.NoError(t, system.Stop(context.Background(), config.Dir))
	})
	return stories.NewWorld(s, system.KubernetesBinDir(binDir, *kubernetes), t.Output()), s
}

// printLogs prints the ends of the logs of Spillway's programs.
func printLogs(t *testing.T, s *system.System) {
	t.Helper()
	const most = 6000
	for _, name := range []string{
		system.Extender, system.ExtenderReplica(0), system.ExtenderReplica(1), system.Admission, system.VNode(0),
		system.CCISim,
	} {
		content, err := os.ReadFile(s.LogFile(name))
		if os.IsNotExist(err) {
			continue // The process belongs to the other topology.
		}
		if err != nil {
			t.Logf("reading the log of %s: %v", name, err)
			continue
		}
		t.Logf("the log of %s ends:\n%s", name, content[max(0, len(content)-most):])
	}
}

// Stories that need another system than the others.
const (
	schedulerName     = "scheduler-name"
	fewerVirtualNodes = "fewer-virtual-nodes"
	services          = "services"
)

// Each test of this package has its own system and mostly waits, so the tests run in parallel.
func TestStories(t *testing.T) {
	t.Parallel()
	playAll(t, stories.All())
}

func TestShareStories(t *testing.T) {
	t.Parallel()
	playAll(t, stories.Shares())
}

func TestWayHomeStories(t *testing.T) {
	t.Parallel()
	playAll(t, stories.WayHome(), func(c *system.Config) { c.WayHome = stories.WayHomeSettings() })
}

func TestOutOfHoursStories(t *testing.T) {
	t.Parallel()
	playAll(t, []stories.Story{{
		Name:  "drain-back",
		Title: "Pods return at the hours of the schedule only, and kubectl spillway drain-back returns some now",
		Play:  stories.PlayDrainBack,
	}}, func(c *system.Config) { c.WayHome = stories.OutOfHoursSettings() })
}

func TestFurtherStories(t *testing.T) {
	t.Parallel()
	further := append(stories.Further(), stories.Story{
		Name: schedulerName, Title: "A Deployment that names tke-scheduler keeps its quota",
		Play: stories.PlaySchedulerName,
	}, stories.Story{
		Name:  "ignored-selectors",
		Title: "Pods with a selector that virtual nodes ignore run on the local nodes that match, and in the cloud",
		Play:  stories.PlayIgnoredSelectors,
	}, stories.Story{
		Name:  services,
		Title: "Pods in the cloud reach Services in the way that they choose, and Jobs with a sidecar end",
		Play:  stories.PlayServices,
	}, stories.Story{
		Name:  "explain",
		Title: "The extender explains Pods as kubectl spillway why does, and what it says of a new Pod holds",
		Play:  stories.PlayExplain,
	}, stories.Story{
		Name: "apply", Title: "kubectl apply reports malformed keys, and keys that have no effect",
		Play: func(ctx context.Context, w *stories.World) error { return checkApply(ctx, t, w) },
	})
	playAll(t, further, func(c *system.Config) {
		c.IgnoredNodeSelectors, c.Services = []string{stories.IgnoredSelector}, true
	})
}

// playAll plays stories one after the other on one system, and checks that they leave nothing behind.
func playAll(t *testing.T, list []stories.Story, change ...func(*system.Config)) {
	t.Helper()
	world, _ := newWorld(t, stories.Shape(), change...)
	for _, story := range list {
		t.Run(story.Name, func(t *testing.T) { require.NoError(t, world.Play(t.Context(), story)) })
	}
	require.NoError(t, world.AwaitGone(t.Context()))
}

// checkApply applies each testdata/apply/*.yaml in the order of their names, and compares the output with the .txt file
// of the same name. With -update it writes these files.
func checkApply(ctx context.Context, t *testing.T, w *stories.World) error {
	files, err := filepath.Glob("testdata/apply/*.yaml")
	if err != nil || len(files) == 0 {
		return fmt.Errorf("finding the manifests: found %d: %w", len(files), err)
	}
	for _, file := range files {
		manifest, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading a manifest: %w", err)
		}
		printed, err := w.Apply(ctx, string(manifest))
		if err != nil {
			return err
		}
		golden := strings.TrimSuffix(file, ".yaml") + ".txt"
		if *update {
			if err := os.WriteFile(golden, []byte(printed), 0o644); err != nil {
				return fmt.Errorf("writing a golden file: %w", err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			return fmt.Errorf("reading a golden file: %w", err)
		}
		assert.Equal(t, string(want), printed, file)
	}
	return nil
}

// ACK virtual nodes (docs/sources.md) adds and removes virtual nodes through the replicas of a StatefulSet.
func TestFewerVirtualNodes(t *testing.T) {
	t.Parallel()
	shape := stories.Shape()
	shape.VirtualNodes = 4
	world, s := newWorld(t, shape)
	programs := map[string]string{}
	var others []string
	for i := 1; i < shape.VirtualNodes; i++ {
		others = append(others, system.VirtualNode(i))
		programs[system.VirtualNode(i)] = system.VNode(i)
	}
	require.NoError(t, world.Play(t.Context(), stories.Story{
		Name: fewerVirtualNodes,
		Title: "Four virtual nodes share ten Pods; three are drained, stopped and deleted, and no Pod is lost or " +
			"left over",
		Play: func(ctx context.Context, w *stories.World) error {
			stop := func(node string) error { return s.Kill(programs[node]) }
			return stories.PlayFewerVirtualNodes(ctx, w, system.VirtualNode(0), others, stop)
		},
	}))
}

func TestTheQuotaHoldsInABurst(t *testing.T) {
	t.Parallel()
	world, s := newWorld(t, system.DefaultShape())
	kill := func(names ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			for _, name := range names {
				if err := s.Kill(name); err != nil {
					return err
				}
				if err := s.Restart(ctx, name); err != nil {
					return err
				}
			}
			return nil
		}
	}
	type burst struct {
		name   string
		midway func(context.Context) error
	}
	var bursts []burst
	for i := range 3 {
		bursts = append(bursts, burst{fmt.Sprintf("undisturbed-%d", i+1), nil})
	}
	for _, name := range []string{system.Extender, system.Scheduler, system.VNode(0)} {
		bursts = append(bursts, burst{"killed-" + name, kill(name)})
	}
	for _, burst := range bursts {
		t.Run(burst.name, func(t *testing.T) {
			require.NoError(t, world.Play(t.Context(), stories.Story{
				Name: "burst-" + burst.name, Title: "60 replicas at once, 5 of them local: " + burst.name,
				Play: func(ctx context.Context, w *stories.World) error {
					all := stories.Burst{Replicas: 60, Quota: 5, MidwayAt: 4, Midway: burst.midway}
					return stories.PlayBurst(ctx, w, all)
				},
			}))
		})
	}
}
