package stories

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/spillway-k8s/spillway/policy"
)

// WayHome lists the stories about Pods that return from the cloud. They need Shape, and WayHomeSettings.
func WayHome() []Story {
	return []Story{
		{
			"home-deployment",
			"When local nodes have room again, the Pods of a Deployment return, each after its successor is Ready",
			playHomeDeployment,
		},
		{
			"home-statefulset", "The Pods of a StatefulSet return one at a time, as its PodDisruptionBudget allows",
			playHomeStatefulSet,
		},
		{
			"home-scale-in", "After a scale-in that left no local replica, a revision gets its LOCAL_REPLICAS back",
			playHomeScaleIn,
		},
		{
			"home-never",
			"Pods of Jobs, bare Pods, Pods with enforce and workloads that are excluded stay in the cloud",
			playHomeNever,
		},
		{
			"home-budget", "While a PodDisruptionBudget allows no eviction, the Pods of a StatefulSet stay", playHomeBudget,
		},
		{
			"home-middle", "An update, a scale-in or a deletion in the middle of a move leaves nothing behind",
			playHomeMiddle,
		},
		{"home-back", "A Pod that has returned and burst again is left alone", playHomeBack},
		{
			"home-stop", "WAY_HOME: \"false\" stops the way home at once, and \"true\" lets it go on",
			playHomeStop,
		},
	}
}

// WayHomeSettings are those of the extender with which the stories need not wait. By default they are minutes.
func WayHomeSettings() map[string]any {
	return map[string]any{
		"minAge": "1s", "stableFor": "1s", "pause": "1s", "schedule": "* * * * *", "window": "2m", // Always open.
	}
}

// OutOfHoursSettings let Pods return on the 29th of February only.
func OutOfHoursSettings() map[string]any {
	settings := WayHomeSettings()
	settings["schedule"], settings["window"] = "0 0 29 2 *", "1m"
	return settings
}

// budget limits the voluntary disruptions of an app.
func (w *World) budget(ctx context.Context, app string, maxUnavailable int32) error {
	w.printf("PodDisruptionBudget %s: maxUnavailable %d", app, maxUnavailable)
	return w.applyObject(ctx, &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: metav1.ObjectMeta{Name: app},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: new(intstr.FromInt32(maxUnavailable)),
			Selector:       &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}},
		},
	})
}

// prefersLocal lets Pods burst only if no local node fits.
func prefersLocal() map[string]string {
	return map[string]string{policy.BurstLabel: string(policy.ModeLocalPrefer)}
}

// startedInCloud starts Deployments while the local nodes are cordoned, and returns when their Pods run in the cloud.
func (w *World) startedInCloud(ctx context.Context, list ...web) error {
	return w.withoutLocalNodes(ctx, func(ctx context.Context) error { return w.startInCloud(ctx, list...) })
}

func (w *World) startInCloud(ctx context.Context, list ...web) error {
	for _, d := range list {
		if err := w.start(ctx, d); err != nil {
			return err
		}
	}
	for _, d := range list {
		if err := w.awaitRunning(ctx, d.name, 0, int(d.replicas)); err != nil {
			return err
		}
	}
	return nil
}

// playHomeDeployment lets two of three Pods return, because the share allows two. At no time fewer than three are
// Ready.
func playHomeDeployment(ctx context.Context, w *World) error {
	if err := w.budget(ctx, "web", 1); err != nil {
		return err
	}
	if err := w.startedInCloud(ctx, web{
		name: "web", replicas: 3, own: annotations{policy.WayHomeAnnotation: "true"},
		template: annotations{policy.LocalReplicasAnnotation: "2"},
	}); err != nil {
		return err
	}
	before, err := w.pods(ctx, "web")
	if err != nil {
		return err
	}
	watcher, err := w.watchLocal(ctx)
	if err != nil {
		return err
	}
	defer watcher.stop()
	if err := w.awaitRunning(ctx, "web", 2, 1); err != nil {
		return err
	}
	if fewest := watcher.fewestReady(); fewest < 3 {
		return fmt.Errorf("only %d Pods of web were Ready at a time: want 3, because the successor comes first", fewest)
	}
	if most := watcher.mostActive(); most > 4 {
		return fmt.Errorf("%d Pods of web existed at a time: want at most 4, because one moves after the other", most)
	}
	w.printf("  all the time at least 3 Pods were Ready, and at most 4 existed")
	if err := w.awaitMoved(ctx, before, 2); err != nil {
		return err
	}
	return w.onlyRevision(ctx, "web")
}

// awaitMoved blocks until so many of the Pods have an Event about their move.
func (w *World) awaitMoved(ctx context.Context, before []corev1.Pod, want int) error {
	what := fmt.Sprintf("%d Pods to have an Event %s", want, policy.ReasonMovedHome)
	var message string
	err := w.await(ctx, what, func(ctx context.Context) (bool, string, error) {
		moved := 0
		for i := range before {
			text, err := w.eventMessage(ctx, &before[i], policy.ReasonMovedHome)
			if err != nil {
				return false, "", err
			}
			if text != "" {
				moved, message = moved+1, text
			}
		}
		return moved == want, fmt.Sprintf("%d have one", moved), nil
	})
	if err != nil {
		return err
	}
	w.printf("  %s: %s", policy.ReasonMovedHome, message)
	return nil
}

func playHomeStatefulSet(ctx context.Context, w *World) error {
	if err := w.budget(ctx, "db", 1); err != nil {
		return err
	}
	err := w.withoutLocalNodes(ctx, func(ctx context.Context) error {
		if err := w.apply(ctx, "home-statefulset.yaml"); err != nil {
			return err
		}
		return w.awaitRunning(ctx, "db", 0, 3)
	})
	if err != nil {
		return err
	}
	before, err := w.pods(ctx, "db")
	if err != nil {
		return err
	}
	watcher, err := w.watchLocal(ctx)
	if err != nil {
		return err
	}
	defer watcher.stop()
	if err := w.awaitRunning(ctx, "db", 3, 0); err != nil {
		return err
	}
	if fewest := watcher.fewestReady(); fewest < 2 {
		return fmt.Errorf("only %d Pods of db were Ready at a time: want 2, because one moves after the other", fewest)
	}
	w.printf("  all the time at least 2 of 3 Pods were Ready")
	return w.awaitMoved(ctx, before, 3)
}

// playHomeScaleIn scales a StatefulSet in, which removes the Pods with the highest ordinals: the local ones.
func playHomeScaleIn(ctx context.Context, w *World) error {
	err := w.withoutLocalNodes(ctx, func(ctx context.Context) error {
		if err := w.apply(ctx, "home-scale-in.yaml"); err != nil {
			return err
		}
		return w.awaitRunning(ctx, "queue", 0, 2)
	})
	if err != nil {
		return err
	}
	for _, step := range []struct{ replicas, local, cloud int }{{4, 2, 2}, {2, 0, 2}} {
		count := fmt.Sprintf("--replicas=%d", step.replicas)
		if err := w.run(ctx, "scale", "statefulset", "queue", count); err != nil {
			return err
		}
		if err := w.awaitRunning(ctx, "queue", step.local, step.cloud); err != nil {
			return err
		}
	}
	if err := w.annotate(ctx, "statefulset/queue", policy.WayHomeAnnotation+"=true"); err != nil {
		return err
	}
	return w.awaitRunning(ctx, "queue", 2, 0)
}

// playHomeNever lets the way home be on in the whole namespace. A Deployment that returns shows that all others had the
// time.
func playHomeNever(ctx context.Context, w *World) error {
	if err := w.annotate(ctx, "namespace/"+w.Namespace, policy.WayHomeAnnotation+"=true"); err != nil {
		return err
	}
	staying := []string{"batch", "bare", "always", "excluded"}
	err := w.withoutLocalNodes(ctx, func(ctx context.Context) error {
		if err := w.apply(ctx, "home-never.yaml"); err != nil {
			return err
		}
		for _, app := range staying {
			if err := w.awaitRunning(ctx, app, 0, 1); err != nil {
				return err
			}
		}
		return w.startInCloud(ctx, web{name: "web", replicas: 2, labels: prefersLocal()})
	})
	if err != nil {
		return err
	}
	before := map[string][]corev1.Pod{}
	for _, app := range staying {
		if before[app], err = w.pods(ctx, app); err != nil {
			return err
		}
	}
	if err := w.awaitRunning(ctx, "web", 2, 0); err != nil {
		return err
	}
	for _, app := range staying {
		if err := w.awaitRunning(ctx, app, 0, 1); err != nil {
			return err
		}
		if err := w.keepsAll(ctx, app, before[app]); err != nil {
			return err
		}
	}
	return nil
}

// playHomeStop stops the way home before a workload may use it. A metric shows that the extender has seen the switch.
func playHomeStop(ctx context.Context, w *World) (err error) {
	if err := w.setKey(ctx, policy.WayHomeSwitch, "false"); err != nil {
		return err
	}
	defer func() {
		if unsetErr := w.unsetSwitch(ctx); err == nil {
			err = unsetErr
		}
	}()
	if err := w.startedInCloud(ctx, web{
		name: "web", replicas: 2, own: annotations{policy.WayHomeAnnotation: "true"}, labels: prefersLocal(),
	}); err != nil {
		return err
	}
	before, err := w.pods(ctx, "web")
	if err != nil {
		return err
	}
	if err := w.awaitStaying(ctx, "stopped", 2); err != nil {
		return err
	}
	if err := w.keepsAll(ctx, "web", before); err != nil {
		return err
	}
	if err := w.setKey(ctx, policy.WayHomeSwitch, "true"); err != nil {
		return err
	}
	return w.awaitRunning(ctx, "web", 2, 0)
}

// PlayDrainBack lets kubectl spillway drain-back return Pods at an hour at which none may return.
func PlayDrainBack(ctx context.Context, w *World) error {
	if err := w.startedInCloud(ctx,
		web{name: "web", replicas: 2, own: annotations{policy.WayHomeAnnotation: "true"}, labels: prefersLocal()},
		web{name: "other", replicas: 1, own: annotations{policy.WayHomeAnnotation: "true"}, labels: prefersLocal()},
	); err != nil {
		return err
	}
	if err := w.awaitStaying(ctx, "schedule", 3); err != nil {
		return err
	}
	printed, err := w.spillway(ctx, "drain-back", "deployment/web")
	if err != nil {
		return err
	}
	for line := range strings.Lines(printed) {
		w.printf("  %s", strings.TrimRight(line, "\n"))
	}
	if err := w.awaitRunning(ctx, "web", 2, 0); err != nil {
		return err
	}
	return w.awaitRunning(ctx, "other", 0, 1)
}

// awaitStaying blocks until the extender counts so many Pods that stay in the cloud for a reason.
func (w *World) awaitStaying(ctx context.Context, why string, want int) error {
	what := fmt.Sprintf("%d Pods to stay in the cloud for the reason %s", want, why)
	line := fmt.Sprintf("spillway_extender_way_home_candidates{reason=%q} %d\n", why, want)
	return w.await(ctx, what, func(ctx context.Context) (bool, string, error) {
		text, err := w.extenderMetrics(ctx)
		if err != nil {
			return false, "", err
		}
		return strings.Contains(text, line), linesWith(text, "spillway_extender_way_home_candidates{"), nil
	})
}

// linesWith returns the metrics of a name that are not 0.
func linesWith(text, prefix string) string {
	var found []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) && !strings.HasSuffix(line, " 0\n") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return strings.Join(found, ", ")
}

func (w *World) extenderMetrics(ctx context.Context) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.cluster.Extender+"/metrics", nil)
	if err != nil {
		return "", fmt.Errorf("asking for the metrics of the extender: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("asking for the metrics of the extender: %w", err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, 10<<20))
	if err != nil {
		return "", fmt.Errorf("reading the metrics of the extender: %w", err)
	}
	return string(content), nil
}
