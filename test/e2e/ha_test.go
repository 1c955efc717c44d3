package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/stories"
	"github.com/spillway-k8s/spillway/test/system"
)

// TestTheSecondOfEachProgramTakesOver kills the first process of a program, and starts it only after a burst: the
// second one keeps the quota.
func TestTheSecondOfEachProgramTakesOver(t *testing.T) {
	t.Parallel()
	shape := system.DefaultShape()
	shape.HA, shape.Topology = true, system.TopologyService
	world, s := newWorld(t, shape)
	for _, program := range []string{system.Extender, system.Admission, system.Scheduler} {
		t.Run(program, func(t *testing.T) {
			burst := stories.Burst{
				Replicas: 30, Quota: 3, MidwayAt: 2, Midway: func(context.Context) error { return s.Kill(program) },
			}
			if program == system.Admission {
				// Pods that are created before the other one answers would stay local, because the API server ignores a
				// webhook that does not answer.
				burst.Midway = nil
				require.NoError(t, s.Kill(program))
				require.Eventually(t, func() bool { return isMutated(t, s) }, timeout, 100*time.Millisecond)
			}
			require.NoError(t, world.Play(t.Context(), stories.Story{
				Name:  "without-" + program,
				Title: "30 replicas at once, 3 of them local, and " + program + " is killed",
				Play:  func(ctx context.Context, w *stories.World) error { return stories.PlayBurst(ctx, w, burst) },
			}))
			require.NotZero(t, s.PID(system.Second(program)), "the second one still runs")
			require.NoError(t, s.Restart(t.Context(), program))
		})
	}
}

// isMutated reports whether the API server calls the webhook.
func isMutated(t *testing.T, s *system.System) bool {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "probe", Annotations: map[string]string{policy.LocalReplicasAnnotation: "1"},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "probe", Image: "probe"}}},
	}
	dryRun := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	created, err := s.Client().CoreV1().Pods(metav1.NamespaceDefault).Create(t.Context(), pod, dryRun)
	require.NoError(t, err)
	_, marked := created.Spec.Containers[0].Resources.Requests[policy.PlacementResource]
	return marked
}
