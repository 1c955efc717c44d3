package stories

import (
	"context"
	"fmt"
	"strings"

	schedulerv1 "k8s.io/kube-scheduler/config/v1"
)

// tkeScheduler is what seed 0 has users name on a community Kubernetes.
const tkeScheduler = "tke-scheduler"

// AddTKEScheduler has the scheduler serve Pods of that name too, as its own: whoever comes from there changes no manifest.
func AddTKEScheduler(c *schedulerv1.KubeSchedulerConfiguration) {
	profile := *c.Profiles[0].DeepCopy()
	profile.SchedulerName = new(tkeScheduler)
	c.Profiles = append(c.Profiles, profile)
}

// PlaySchedulerName is the Deployment of seed 0 as it is written for a community Kubernetes: with the name of the scheduler. It needs
// AddTKEScheduler.
func PlaySchedulerName(ctx context.Context, w *World) error {
	manifest, err := manifests.ReadFile("manifests/nginx-deployment.yaml")
	if err != nil {
		return fmt.Errorf("reading the manifest: %w", err)
	}
	text := strings.Replace(string(manifest), "#schedulerName: "+tkeScheduler+" ", "schedulerName: "+tkeScheduler+" #", 1)
	if text == string(manifest) {
		return fmt.Errorf("the manifest does not name %s in a comment", tkeScheduler)
	}
	if _, err := w.kubectl(ctx, text, "apply", "-f", "-"); err != nil {
		return err
	}
	return w.awaitRunning(ctx, "nginx", 1, 3)
}
