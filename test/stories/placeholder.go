package stories

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// playPlaceholder leaves 1 CPU free on each of three local nodes and fills it with low-priority placeholder Pods. Then
// it creates the eight high-priority nginx Pods of TKE placeholder (docs/sources.md). Two of them fit into the place of
// the placeholders of one node.
func playPlaceholder(ctx context.Context, w *World) error {
	return w.whileBuffered(ctx, corev1.DefaultSchedulerName, bufferedModes)
}

// bufferedModes are lines in the metadata of a Pod template: none, a burst mode and a quota.
var bufferedModes = []string{
	"",
	"        " + policy.BurstLabel + ": localPrefer\n",
	"      annotations: {" + policy.LocalReplicasAnnotation + ": \"8\"}\n",
}

// whileBuffered plays the story with placeholders of a scheduler, once for each of the lines.
func (w *World) whileBuffered(ctx context.Context, scheduler string, lines []string) error {
	// The second manifest is what charts/placeholder renders.
	for _, manifest := range []string{"placeholder.yaml", "placeholder-chart.yaml"} {
		if err := w.apply(ctx, manifest); err != nil {
			return err
		}
	}
	defer func() {
		_, _ = w.kubectl(context.WithoutCancel(ctx), "",
			"delete", "priorityclass", "story-buffer", "high-priority", "--ignore-not-found")
	}()
	if err := w.awaitRunning(ctx, "filler", 3, 0); err != nil {
		return err
	}
	patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"schedulerName":%q}}}}`, scheduler)
	if err := w.run(ctx, "patch", "deployment", "tke-autoscaling-placeholder", "--patch", patch); err != nil {
		return err
	}
	for _, key := range lines {
		if err := w.bufferIsPreempted(ctx, key); err != nil {
			return fmt.Errorf("pods with %q: %w", key, err)
		}
	}
	return nil
}

// bufferIsPreempted plays the story once, with an additional line in the metadata of the Pod template.
func (w *World) bufferIsPreempted(ctx context.Context, key string) error {
	if err := w.run(ctx, "scale", "deployment", "tke-autoscaling-placeholder", "--replicas=9"); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "tke-autoscaling-placeholder", 9, 0); err != nil {
		return err
	}
	manifest, err := manifests.ReadFile("manifests/placeholder-nginx.yaml")
	if err != nil {
		return fmt.Errorf("reading the manifest: %w", err)
	}
	const behind = "    spec:\n      priorityClassName"
	w.printf("$ kubectl apply -f test/stories/manifests/placeholder-nginx.yaml, with %q", strings.TrimSpace(key))
	if _, err := w.kubectl(
		ctx,
		strings.Replace(string(manifest), behind, key+behind, 1),
		"apply",
		"-f",
		"-",
	); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "nginx", 6, 2); err != nil {
		return err
	}
	w.printf("  the buffer was preempted first, and only the Pods that did not fit have burst")
	if err := w.run(ctx, "delete", "deployment", "nginx", "--cascade=foreground"); err != nil {
		return err
	}
	return w.run(ctx, "scale", "deployment", "tke-autoscaling-placeholder", "--replicas=0")
}
