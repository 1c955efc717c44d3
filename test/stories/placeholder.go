package stories

import (
	"context"
	"fmt"
	"strings"

	"github.com/spillway-k8s/spillway/policy"
)

// playPlaceholder leaves 1 CPU free on each of three local nodes, fills it with placeholder Pods of low priority, and starts the seed's
// eight nginx Pods of high priority: two fit where the placeholders of a node were.
func playPlaceholder(ctx context.Context, w *World) error {
	for _, manifest := range []string{"placeholder.yaml", "placeholder-chart.yaml"} { // The second is what charts/placeholder renders.
		if err := w.apply(ctx, manifest); err != nil {
			return err
		}
	}
	defer func() {
		_, _ = w.kubectl(context.WithoutCancel(ctx), "", "delete", "priorityclass", "story-buffer", "high-priority", "--ignore-not-found")
	}()
	if err := w.awaitRunning(ctx, "filler", 3, 0); err != nil {
		return err
	}
	for _, key := range []string{
		"",
		"        " + policy.BurstLabel + ": localPrefer\n",
		"      annotations: {" + policy.LocalReplicasAnnotation + ": \"8\"}\n",
	} {
		if err := w.bufferGivesWay(ctx, key); err != nil {
			return fmt.Errorf("pods with the key %q: %w", key, err)
		}
	}
	return nil
}

// bufferGivesWay plays it once, with a line more in the metadata of the Pod template.
func (w *World) bufferGivesWay(ctx context.Context, key string) error {
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
	w.tell("$ kubectl apply -f test/stories/manifests/placeholder-nginx.yaml, with %q", strings.TrimSpace(key))
	if _, err := w.kubectl(ctx, strings.Replace(string(manifest), behind, key+behind, 1), "apply", "-f", "-"); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "nginx", 6, 2); err != nil {
		return err
	}
	w.tell("  the buffer gave way first, and only what it could not hold has burst")
	if err := w.run(ctx, "delete", "deployment", "nginx", "--cascade=foreground"); err != nil {
		return err
	}
	return w.run(ctx, "scale", "deployment", "tke-autoscaling-placeholder", "--replicas=0")
}
