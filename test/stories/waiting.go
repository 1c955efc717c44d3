package stories

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// Further lists stories of less common turns. They are tested with the others, and not part of the demonstration. They need Shape.
func Further() []Story {
	return []Story{
		{"references", "A Deployment has its ConfigMap, its Secret and its token in the cloud, also new ones, and leaves nothing there", playReferences},
		{"waiting", "A Pod over its quota waits with a reason while the cloud is closed, takes a slot that frees, and bursts when the cloud opens", playWaiting},
		{"preemption", "A Pod below its quota evicts one of lower priority; Pods over it evict nobody", playPreemption},
		{"placeholder", "The cloud comes last: a buffer of low priority gives way before anything bursts", playPlaceholder},
		{"restrictions", "What the cloud cannot run waits for room at home, and says why; it runs there when there is room", playRestrictions},
		{"workloads", "The burst label of a Deployment, StatefulSet, Job and CronJob holds for their Pods, and a Pod's own wins", playWorkloads},
		{"replacements", "hostPath volumes become in the cloud what the annotation says, and stay as they are without one", playReplacements},
		{"daemonsets", "A DaemonSet that tolerates every taint runs on local nodes only, and fails nowhere", playDaemonSets},
		{"resolv-conf", "Name servers that a virtual node is annotated with are those of its Pods", playResolvConf},
		{"extender-down", "While the extender is down Pods without a key run, and keyed ones wait until it is back", playExtenderDown},
		{"admission-down", "While admission is down Pods are created and stay home, and what waits is put right when it is back", playAdmissionDown},
		{"sold-out", "A sold-out cloud locks its nodes, and Pods over their quota wait with that reason until there is room", playSoldOut},
		{"labels", "Burst labels: off never bursts, localPrefer and auto start at home", playLabels},
	}
}

// whileClosed runs play while the virtual nodes take no Pods, and opens them again.
func (w *World) whileClosed(ctx context.Context, play func(context.Context) error) (err error) {
	selector := policy.NodeTypeLabel + "=" + policy.NodeTypeVirtual
	if err := w.run(ctx, "cordon", "-l", selector); err != nil {
		return err
	}
	defer func() {
		if openErr := w.run(context.WithoutCancel(ctx), "uncordon", "-l", selector); err == nil {
			err = openErr
		}
	}()
	return play(ctx)
}

func playWaiting(ctx context.Context, w *World) error {
	err := w.whileClosed(ctx, func(ctx context.Context) error {
		if err := w.apply(ctx, "nginx-deployment.yaml"); err != nil {
			return err
		}
		if err := w.awaitRefused(ctx, "nginx", 1, 3, policy.ReasonLocalQuota); err != nil {
			return err
		}
		home, err := w.localPods(ctx, "nginx")
		if err != nil {
			return err
		}
		if err := w.run(ctx, "delete", "pod", home[0], "--wait=false"); err != nil {
			return err
		}
		return w.awaitRefused(ctx, "nginx", 1, 3, policy.ReasonLocalQuota)
	})
	if err != nil {
		return err
	}
	return w.awaitRunning(ctx, "nginx", 1, 3)
}

// awaitRefused blocks until so many Pods run at home and so many wait with a condition that names the reason.
func (w *World) awaitRefused(ctx context.Context, app string, local, waiting int, reason policy.Reason) error {
	what := fmt.Sprintf("%d pods of %s to run at home and %d to be refused because of %s", local, app, waiting, reason)
	return w.await(ctx, what, func(ctx context.Context) (bool, string, error) {
		pods, err := w.pods(ctx, app)
		if err != nil {
			return false, "", err
		}
		if got, want := count(pods), (where{local: local, pending: waiting, running: local}); got != want {
			return false, got.String(), nil
		}
		for i := range pods {
			if text := refusalOf(&pods[i]); pods[i].Spec.NodeName == "" && !strings.Contains(text, string(reason)) {
				return false, fmt.Sprintf("pod %s waits: %s", pods[i].Name, text), nil
			}
		}
		return true, "", nil
	})
}

// refusalOf is what the scheduler wrote on a Pod that it could not place.
func refusalOf(pod *corev1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled {
			return condition.Message
		}
	}
	return ""
}

// playPreemption fills three local nodes of 4 CPU with Pods of 3 CPU.
func playPreemption(ctx context.Context, w *World) error {
	if err := w.apply(ctx, "preemption.yaml"); err != nil {
		return err
	}
	defer func() {
		_, _ = w.kubectl(context.WithoutCancel(ctx), "", "delete", "priorityclass", "story-low", "story-high", "--ignore-not-found")
	}()
	if err := w.awaitRunning(ctx, "low", 3, 0); err != nil {
		return err
	}
	before, err := w.localPods(ctx, "low")
	if err != nil {
		return err
	}
	err = w.whileClosed(ctx, func(ctx context.Context) error {
		if err := w.run(ctx, "scale", "deployment", "high", "--replicas=3"); err != nil {
			return err
		}
		// The scheduler asks about preemption only, so the words come from admission.
		return w.awaitWaiting(ctx, "high", 1, 2, policy.ReasonLocalQuota)
	})
	if err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "high", 1, 2); err != nil {
		return err
	}
	after, err := w.localPods(ctx, "low")
	if err != nil {
		return err
	}
	if stayed := shared(before, after); stayed != 2 {
		return fmt.Errorf("%d of %d pods of low priority were left alone, want 2: only the one Pod below its quota may evict", stayed, len(before))
	}
	w.tell("  one Pod of low priority gave way, two were left alone")
	return nil
}

func shared(a, b []string) int {
	n := 0
	for _, name := range a {
		if strings.Contains(" "+strings.Join(b, " ")+" ", " "+name+" ") {
			n++
		}
	}
	return n
}

func playLabels(ctx context.Context, w *World) error {
	if err := w.apply(ctx, "labels.yaml"); err != nil {
		return err
	}
	for app, local := range map[string]int{"local-prefer": 1, "auto": 1} {
		if err := w.awaitRunning(ctx, app, local, 0); err != nil {
			return err
		}
	}
	if err := w.awaitWaiting(ctx, "off", 0, 1, policy.ReasonLabelOff); err != nil {
		return err
	}
	return w.awaitRunning(ctx, "too-large", 0, 1)
}
