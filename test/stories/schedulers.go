package stories

import (
	"context"
	"fmt"
	"strings"

	schedulerv1 "k8s.io/kube-scheduler/config/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

// Names of profiles of a scheduler that does not call the extender.
const (
	// ignoring ignores the marker resource, as a node autoscaler does whose simulation is configured to.
	ignoring = "simulation"
	// unaware does not know the marker resource.
	unaware = "simulation-without-arguments"
)

// AddSimulations turns the second scheduler into two simulations of a node autoscaler: a stock scheduler without the
// extender.
func AddSimulations(c *schedulerv1.KubeSchedulerConfiguration) {
	c.Profiles = []schedulerv1.KubeSchedulerProfile{
		{SchedulerName: new(ignoring), PluginConfig: []schedulerv1.PluginConfig{system.IgnoreMarker()}},
		{SchedulerName: new(unaware)},
	}
}

// Schedulers lists the stories about other schedulers. They need TopologyService and AddSimulations.
func Schedulers() []Story {
	return []Story{
		{
			"profile", "Managed Pods get the profile of Spillway and the marker resource, other Pods get neither",
			func(ctx context.Context, w *World) error { return w.playAssigned(ctx, true) },
		},
		{
			"simulation",
			"A stock scheduler without the extender, which ignores the marker resource, finds a node for a marked Pod",
			playSimulation,
		},
		{
			"other-scheduler",
			"A Pod that names another scheduler gets no marker resource, a warning says that its quota has no " +
				"effect, and it runs",
			playOtherScheduler,
		},
	}
}

// OwnScheduler lists the stories about a scheduler of Spillway's own. They need TopologyOwnScheduler.
func OwnScheduler() []Story {
	return []Story{
		{
			"own-scheduler",
			"Managed Pods get the scheduler of Spillway and no marker resource, other Pods get neither",
			func(ctx context.Context, w *World) error { return w.playAssigned(ctx, false) },
		},
		{
			"own-scheduler-unmanaged",
			"A Pod without a key that names the scheduler of Spillway runs, also on virtual nodes",
			playUnmanagedOfOwnScheduler,
		},
		{
			"own-scheduler-marked", "Pods from before the upgrade, which have the marker resource, keep their quota",
			playMarked,
		},
		{
			"own-scheduler-buffer",
			"The cloud comes last: placeholders that name the scheduler of Spillway are preempted first",
			playBufferOfOwnScheduler,
		},
	}
}

// playAssigned checks what admission writes to Pods.
func (w *World) playAssigned(ctx context.Context, marked bool) error {
	if err := w.startNginx(ctx); err != nil {
		return err
	}
	if _, err := w.Apply(ctx, podOf("unmanaged", "", "")); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "unmanaged", 1, 0); err != nil {
		return err
	}
	for app, want := range map[string]string{
		"nginx":     fmt.Sprintf("%s, marked: %t", system.OwnScheduler, marked),
		"unmanaged": "default-scheduler, marked: false",
	} {
		pods, err := w.pods(ctx, app)
		if err != nil {
			return err
		}
		for i := range pods {
			spec := &pods[i].Spec
			got := fmt.Sprintf("%s, marked: %t", spec.SchedulerName, policy.NeedsPlacement(spec))
			if got != want {
				return fmt.Errorf("pod %s has %s: want %s", pods[i].Name, got, want)
			}
		}
		w.printf("  %s: %s", app, want)
	}
	return nil
}

// podOf returns a manifest of a Pod. Its label app is its name. container is additional flow YAML, as in World.pod.
func podOf(name, scheduler, container string) string {
	if scheduler != "" {
		scheduler = "schedulerName: " + scheduler + ", "
	}
	return fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: %[1]s, labels: {app: %[1]s}}, "+
		"spec: {%[2]scontainers: [{name: main, image: nginx, %[3]s}]}}", name, scheduler, container)
}

// markerRequest is what admission adds to Pods of a scheduler that needs the marker resource.
const markerRequest = `resources: {requests: {spillway.io/placement: "1"}, limits: {spillway.io/placement: "1"}},`

func playSimulation(ctx context.Context, w *World) error {
	for name, scheduler := range map[string]string{"marked": ignoring, "marked-unaware": unaware} {
		if _, err := w.kubectl(ctx, podOf(name, scheduler, markerRequest), "apply", "-f", "-"); err != nil {
			return err
		}
	}
	if err := w.awaitRunning(ctx, "marked", 1, 0); err != nil {
		return err
	}
	const refusal = "Insufficient spillway.io/placement"
	what := "the scheduler that does not ignore the marker resource to refuse every node"
	return w.await(ctx, what, func(ctx context.Context) (bool, string, error) {
		pods, err := w.pods(ctx, "marked-unaware")
		if err != nil || len(pods) != 1 {
			return false, "", err
		}
		message := schedulingMessage(&pods[0])
		return strings.Contains(message, refusal), message, nil
	})
}

func playOtherScheduler(ctx context.Context, w *World) error {
	manifest, err := manifests.ReadFile("manifests/nginx-deployment.yaml")
	if err != nil {
		return fmt.Errorf("reading the manifest: %w", err)
	}
	text := strings.Replace(string(manifest), "#schedulerName: "+TKEScheduler+" ", "schedulerName: "+unaware+" #", 1)
	printed, err := w.Apply(ctx, text)
	if err != nil {
		return err
	}
	const warning = `OtherScheduler: scheduler "` + unaware + `" does not call the extender of Spillway: ` +
		"LOCAL_REPLICAS has no effect"
	if !strings.Contains(printed, warning) {
		return fmt.Errorf("kubectl apply printed %q: want the warning %q", printed, warning)
	}
	return w.awaitRunning(ctx, "nginx", 4, 0)
}

func playUnmanagedOfOwnScheduler(ctx context.Context, w *World) error {
	for _, name := range []string{"small", "large"} {
		container := ""
		if name == "large" {
			container = largerThanLocal
		}
		if _, err := w.kubectl(ctx, podOf(name, system.OwnScheduler, container), "apply", "-f", "-"); err != nil {
			return err
		}
	}
	if err := w.awaitRunning(ctx, "small", 1, 0); err != nil {
		return err
	}
	return w.awaitRunning(ctx, "large", 0, 1)
}

// playBufferOfOwnScheduler plays the buffer for managed Pods. Unmanaged Pods have another scheduler.
func playBufferOfOwnScheduler(ctx context.Context, w *World) error {
	return w.whileBuffered(ctx, system.OwnScheduler, bufferedModes[1:])
}

func playMarked(ctx context.Context, w *World) error {
	manifest, err := manifests.ReadFile("manifests/nginx-deployment.yaml")
	if err != nil {
		return fmt.Errorf("reading the manifest: %w", err)
	}
	// The webhook had added both to the Pods.
	text := strings.Replace(string(manifest), "#schedulerName: "+TKEScheduler+" ",
		"schedulerName: "+system.OwnScheduler+" #", 1)
	before, after, found := strings.Cut(text, "image: nginx")
	if !found || before == text {
		return fmt.Errorf("the manifest has no container of the image nginx")
	}
	indent := before[strings.LastIndex(before, "\n")+1:]
	indent = strings.Repeat(" ", len(indent))
	text = before + "image: nginx\n" + indent + strings.TrimSuffix(markerRequest, ",") + after
	if _, err := w.kubectl(ctx, text, "apply", "-f", "-"); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "nginx", 1, 3); err != nil {
		return err
	}
	pods, err := w.pods(ctx, "nginx")
	if err != nil {
		return err
	}
	for i := range pods {
		if !policy.NeedsPlacement(&pods[i].Spec) {
			return fmt.Errorf("pod %s has no marker resource: the story shows nothing", pods[i].Name)
		}
		if isVirtual(pods[i].Spec.NodeName) == (pods[i].Annotations[policy.LocalSlotAnnotation] != "") {
			return fmt.Errorf("pod %s on %s: the local one must have the slot, and no other", pods[i].Name,
				pods[i].Spec.NodeName)
		}
	}
	return nil
}
