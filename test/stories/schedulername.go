package stories

import (
	"context"
	"fmt"
	"strings"

	schedulerv1 "k8s.io/kube-scheduler/config/v1"
)

// TKEScheduler is the scheduler name that TKE Resilience (docs/sources.md) prescribes outside TKE.
const TKEScheduler = "tke-scheduler"

// AddTKEScheduler makes the scheduler also serve Pods with that scheduler name. Users who migrate change no manifest.
func AddTKEScheduler(c *schedulerv1.KubeSchedulerConfiguration) {
	profile := *c.Profiles[len(c.Profiles)-1].DeepCopy() // That of managed Pods, if there is one.
	profile.SchedulerName = new(TKEScheduler)
	c.Profiles = append(c.Profiles, profile)
}

// PlaySchedulerName plays the Deployment of TKE Resilience as it is written for clusters outside TKE, with the name of
// the scheduler. It needs AddTKEScheduler.
func PlaySchedulerName(ctx context.Context, w *World) error {
	manifest, err := manifests.ReadFile("manifests/nginx-deployment.yaml")
	if err != nil {
		return fmt.Errorf("reading the manifest: %w", err)
	}
	text := strings.Replace(
		string(manifest),
		"#schedulerName: "+TKEScheduler+" ",
		"schedulerName: "+TKEScheduler+" #",
		1,
	)
	if text == string(manifest) {
		return fmt.Errorf("the manifest does not name %s in a comment", TKEScheduler)
	}
	if _, err := w.kubectl(ctx, text, "apply", "-f", "-"); err != nil {
		return err
	}
	return w.awaitRunning(ctx, "nginx", 1, 3)
}
