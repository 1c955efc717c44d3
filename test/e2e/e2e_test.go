// Package e2e holds the end-to-end tests: the stories of the demonstration, and bursts with and without failures, on a real control plane
// with all our programs and the simulated cloud.
package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/stories"
	"github.com/spillway-k8s/spillway/test/system"
)

// newWorld starts a system for one test.
func newWorld(t *testing.T) (*stories.World, *system.System) {
	t.Helper()
	binDir, err := system.FindBinDir()
	require.NoError(t, err)
	config := system.Config{Dir: t.TempDir(), BinDir: binDir, Shape: system.DefaultShape(), DieWithParent: true, Progress: t.Output()}
	s, err := system.Start(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			tellLogs(t, s)
		}
		assert.NoError(t, system.Stop(context.Background(), config.Dir))
	})
	return stories.NewWorld(s, binDir, t.Output()), s
}

// tellLogs shows how our programs' logs ended.
func tellLogs(t *testing.T, s *system.System) {
	t.Helper()
	const most = 6000
	for _, name := range []string{system.Extender, system.Admission, system.VNode(0), system.CCISim} {
		content, err := os.ReadFile(s.LogFile(name))
		if err != nil {
			t.Logf("reading the log of %s: %v", name, err)
			continue
		}
		t.Logf("the log of %s ends:\n%s", name, content[max(0, len(content)-most):])
	}
}

func TestStories(t *testing.T) {
	world, _ := newWorld(t)
	for _, story := range append(stories.All(), stories.Further()...) {
		t.Run(story.Name, func(t *testing.T) { require.NoError(t, world.Play(t.Context(), story)) })
	}
}

func TestTheQuotaHoldsInABurst(t *testing.T) {
	world, s := newWorld(t)
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
	for i := range 5 {
		bursts = append(bursts, burst{fmt.Sprintf("undisturbed-%d", i+1), nil})
	}
	for _, name := range []string{system.Extender, system.Scheduler, system.VNode(0)} {
		bursts = append(bursts, burst{"killed-" + name, kill(name)})
	}
	for _, burst := range bursts {
		t.Run(burst.name, func(t *testing.T) {
			require.NoError(t, world.Play(t.Context(), stories.Story{
				Name: "burst-" + burst.name, Title: "60 replicas at once, 5 of them at home: " + burst.name,
				Play: func(ctx context.Context, w *stories.World) error {
					return stories.PlayBurst(ctx, w, stories.Burst{Replicas: 60, Quota: 5, MidwayAt: 4, Midway: burst.midway})
				},
			}))
		})
	}
}
