package stories

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

// Shares lists the stories about shares of replicas, and about Pods that wait for room. They need Shape.
func Shares() []Story {
	return []Story{
		{
			"local-min",
			"Replicas of the floor wait for room on local nodes while others burst, and take the room when it comes",
			playLocalMin,
		},
		{
			"local-max", "spillway.io/local-max caps the local replicas, alone and together with a percentage",
			playLocalMax,
		},
		{
			"cloud-max",
			"spillway.io/cloud-max caps the replicas in the cloud; others say so and wait for either side",
			playCloudMax,
		},
		{
			"annotate",
			"A share on the Deployment itself takes effect on the running revision, and no Pod is replaced",
			playAnnotate,
		},
		{
			"namespace-share",
			"A share of the Namespace counts for its workloads, and a workload's own takes precedence",
			playNamespaceShare,
		},
		{
			"wait-deadline",
			"A Pod with burst-after says until when it waits, does not change meanwhile, and then bursts",
			playWaitDeadline,
		},
		{
			"wait-quota", "Of a revision without room only the Pods of its quota wait; those over it burst at once",
			playWaitQuota,
		},
		{
			"wait-unmanaged",
			"A Pod without shares tolerates virtual nodes only at the end of burst-after, and takes local room before",
			playWaitUnmanaged,
		},
		{
			"wait-rollout",
			"With burst-after an update on full local nodes ends with the whole quota on local nodes",
			playWaitRollout,
		},
	}
}

// playPercent holds a share of 30% through the changes of a workload.
func playPercent(ctx context.Context, w *World) error {
	watcher, err := w.watchLocal(ctx)
	if err != nil {
		return err
	}
	defer watcher.stop()
	if err := w.apply(ctx, "percent.yaml"); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "percent", 3, 7); err != nil {
		return err
	}
	w.printf("A HorizontalPodAutoscaler would change the replicas step by step, as here:")
	for _, step := range []struct{ replicas, local int }{{12, 4}, {13, 4}, {14, 5}, {20, 6}} {
		if err := w.scale(ctx, "percent", step.replicas, step.local); err != nil {
			return err
		}
	}
	w.printf("Scaling in evicts no local replica. Those that there are suffice for the next replicas:")
	if err := w.awaitRanked(ctx, "percent"); err != nil {
		return err
	}
	for _, step := range []struct{ replicas, local int }{{10, 6}, {16, 6}, {10, 6}} {
		if err := w.awaitRanked(ctx, "percent"); err != nil {
			return err
		}
		if err := w.scale(ctx, "percent", step.replicas, step.local); err != nil {
			return err
		}
	}
	if most := watcher.most(); most > 6 {
		return fmt.Errorf("%d replicas were local at the same time: want at most 6, which are 30%% of 20", most)
	}
	w.printf("The revision that a rolling update creates has its own 30%%:")
	if err := w.run(ctx, "set", "image", "deployment/percent", "main=nginx:1.29"); err != nil {
		return err
	}
	if err := w.run(ctx, "rollout", "status", "deployment/percent", "--timeout=90s"); err != nil {
		return err
	}
	return w.awaitRunning(ctx, "percent", 3, 7)
}

// playLocalMin lets a floor of two wait. Another Deployment, whose burst-after ends, shows that time does not end it.
func playLocalMin(ctx context.Context, w *World) error {
	var held []corev1.Pod
	err := w.withoutLocalNodes(ctx, func(ctx context.Context) (err error) {
		floor := annotations{policy.LocalMinAnnotation: "2", policy.BurstAfterAnnotation: "1s"}
		if err := w.start(ctx, web{name: "floor", replicas: 4, own: floor}); err != nil {
			return err
		}
		if _, err = w.awaitHeld(ctx, "floor", 0, 2, 2, policy.ReasonLocalMin); err != nil {
			return err
		}
		later := annotations{policy.LocalReplicasAnnotation: "1", policy.BurstAfterAnnotation: "2s"}
		if err := w.start(ctx, web{name: "later", replicas: 1, own: later}); err != nil {
			return err
		}
		if err := w.awaitRunning(ctx, "later", 0, 1); err != nil {
			return err
		}
		held, err = w.awaitHeld(ctx, "floor", 0, 2, 2, policy.ReasonLocalMin)
		return err
	})
	if err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "floor", 2, 2); err != nil {
		return err
	}
	return w.runLocally(ctx, "floor", held)
}

// runLocally checks that Pods that have waited are on local nodes now.
func (w *World) runLocally(ctx context.Context, app string, held []corev1.Pod) error {
	pods, err := w.pods(ctx, app)
	if err != nil {
		return err
	}
	for _, before := range held {
		i := slices.IndexFunc(pods, func(pod corev1.Pod) bool { return pod.UID == before.UID })
		if i < 0 || pods[i].Spec.NodeName == "" || isVirtual(pods[i].Spec.NodeName) {
			return fmt.Errorf("pod %s, which has waited, does not run on a local node", before.Name)
		}
	}
	w.printf("  the Pods that have waited run on local nodes")
	return nil
}

func playLocalMax(ctx context.Context, w *World) error {
	for _, d := range []web{
		{name: "capped", replicas: 3, own: annotations{policy.LocalMaxAnnotation: "1"}},
		{name: "shared", replicas: 10, own: annotations{
			policy.LocalReplicasAnnotation: "50%", policy.LocalMaxAnnotation: "2",
		}},
		{name: "floored", replicas: 10, own: annotations{
			policy.LocalReplicasAnnotation: "10%", policy.LocalMinAnnotation: "2", policy.LocalMaxAnnotation: "40%",
		}},
	} {
		if err := w.start(ctx, d); err != nil {
			return err
		}
	}
	for app, local := range map[string]int{"capped": 1, "shared": 2, "floored": 2} {
		replicas := 10
		if app == "capped" {
			replicas = 3
		}
		if err := w.awaitRunning(ctx, app, local, replicas-local); err != nil {
			return err
		}
	}
	return nil
}

func playCloudMax(ctx context.Context, w *World) error {
	var before []corev1.Pod
	err := w.withoutLocalNodes(ctx, func(ctx context.Context) error {
		if err := w.start(ctx, web{
			name: "capped", replicas: 5, own: annotations{policy.CloudMaxAnnotation: "2"},
		}); err != nil {
			return err
		}
		if _, err := w.awaitHeld(ctx, "capped", 0, 2, 3, policy.ReasonCloudMax); err != nil {
			return err
		}
		var err error
		if before, err = w.pods(ctx, "capped"); err != nil {
			return err
		}
		if err := w.annotate(ctx, "deployment/capped", policy.CloudMaxAnnotation+"=60%"); err != nil {
			return err
		}
		if _, err := w.awaitHeld(ctx, "capped", 0, 3, 2, policy.ReasonCloudMax); err != nil {
			return err
		}
		if err := w.keepsAll(ctx, "capped", before); err != nil {
			return err
		}
		w.printf("A replica in the cloud ends, and one that waits takes its place:")
		for _, pod := range before {
			if isVirtual(pod.Spec.NodeName) {
				if err := w.run(ctx, "delete", "pod", pod.Name, "--wait=false"); err != nil {
					return err
				}
				break
			}
		}
		if _, err := w.awaitHeld(ctx, "capped", 0, 3, 2, policy.ReasonCloudMax); err != nil {
			return err
		}
		return w.onlyRevision(ctx, "capped")
	})
	if err != nil {
		return err
	}
	return w.awaitRunning(ctx, "capped", 2, 3)
}

func playAnnotate(ctx context.Context, w *World) error {
	if err := w.start(ctx, web{name: "web", replicas: 4}); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "web", 4, 0); err != nil {
		return err
	}
	first, err := w.pods(ctx, "web")
	if err != nil {
		return err
	}
	for _, step := range []struct {
		annotation, copied string
		replicas, local    int
	}{
		{policy.LocalReplicasAnnotation + "=1", "1", 6, 4}, // Those that run stay.
		{policy.LocalReplicasAnnotation + "=75%", "75%", 8, 6},
		{policy.LocalReplicasAnnotation + "-", "", 10, 8}, // No share: local nodes have room.
	} {
		if err := w.annotate(ctx, "deployment/web", step.annotation); err != nil {
			return err
		}
		if err := w.awaitCopies(ctx, "web", policy.LocalReplicasAnnotation, step.copied); err != nil {
			return err
		}
		if err := w.keepsAll(ctx, "web", first); err != nil {
			return err
		}
		if err := w.scale(ctx, "web", step.replicas, step.local); err != nil {
			return err
		}
	}
	if err := w.keepsAll(ctx, "web", first); err != nil {
		return err
	}
	w.printf("  the four Pods of the beginning still run, and the Deployment has one ReplicaSet")
	return w.onlyRevision(ctx, "web")
}

// awaitCopies blocks until all Pods have the value of their workload, or none if it is empty.
func (w *World) awaitCopies(ctx context.Context, app, key, value string) error {
	what := fmt.Sprintf("the pods of %s to have %s=%q of their workload", app, key, value)
	return w.await(ctx, what, func(ctx context.Context) (bool, string, error) {
		pods, err := w.pods(ctx, app)
		if err != nil {
			return false, "", err
		}
		for _, pod := range pods {
			copied := strings.Contains(pod.Annotations[policy.InheritedAnnotation], key)
			if pod.Annotations[key] != value || copied != (value != "") {
				return false, fmt.Sprintf("pod %s has %q, and %q as inherited", pod.Name, pod.Annotations[key],
					pod.Annotations[policy.InheritedAnnotation]), nil
			}
		}
		return true, "", nil
	})
}

func playNamespaceShare(ctx context.Context, w *World) error {
	if err := w.annotate(ctx, "namespace/"+w.Namespace, policy.LocalReplicasAnnotation+"=1"); err != nil {
		return err
	}
	if err := w.awaitTolerated(ctx, "the webhook to receive the share of the namespace"); err != nil {
		return err
	}
	if err := w.start(ctx, web{name: "default", replicas: 3}); err != nil {
		return err
	}
	if err := w.start(ctx, web{
		name: "own", replicas: 3, own: annotations{policy.LocalReplicasAnnotation: "2"},
	}); err != nil {
		return err
	}
	if err := w.start(ctx, web{
		name: "template", replicas: 3, own: annotations{policy.LocalReplicasAnnotation: "2"},
		template: annotations{policy.LocalReplicasAnnotation: "0"},
	}); err != nil {
		return err
	}
	for app, local := range map[string]int{"default": 1, "own": 2, "template": 0} {
		if err := w.awaitRunning(ctx, app, local, 3-local); err != nil {
			return err
		}
	}
	w.printf("The namespace gets another share, and no Pod is replaced:")
	before, err := w.pods(ctx, "default")
	if err != nil {
		return err
	}
	if err := w.annotate(ctx, "namespace/"+w.Namespace, policy.LocalReplicasAnnotation+"=50%"); err != nil {
		return err
	}
	if err := w.scale(ctx, "default", 6, 3); err != nil {
		return err
	}
	return w.keepsAll(ctx, "default", before)
}

// playWaitNode cordons the local nodes for a moment, as an update of a node does.
func playWaitNode(ctx context.Context, w *World) error {
	var held []corev1.Pod
	err := w.withoutLocalNodes(ctx, func(ctx context.Context) (err error) {
		d := web{
			name: "patient", replicas: 3, own: annotations{policy.BurstAfterAnnotation: "10m"},
			labels: map[string]string{policy.BurstLabel: string(policy.ModeLocalPrefer)},
		}
		if err := w.start(ctx, d); err != nil {
			return err
		}
		held, err = w.awaitHeld(ctx, "patient", 0, 0, 3, policy.ReasonBurstAfter)
		return err
	})
	if err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "patient", 3, 0); err != nil {
		return err
	}
	return w.runLocally(ctx, "patient", held)
}

// playWaitDeadline lets two Pods wait: one until its time, another one for long. While they wait, other Pods come and
// go, which makes the scheduler retry them.
func playWaitDeadline(ctx context.Context, w *World) error {
	return w.withoutLocalNodes(ctx, func(ctx context.Context) error {
		prefers := map[string]string{policy.BurstLabel: string(policy.ModeLocalPrefer)}
		if err := w.start(ctx, web{
			name: "long", replicas: 1, labels: prefers, template: annotations{policy.BurstAfterAnnotation: "1h"},
		}); err != nil {
			return err
		}
		held, err := w.awaitHeld(ctx, "long", 0, 0, 1, policy.ReasonBurstAfter)
		if err != nil {
			return err
		}
		if err := saysUntil(&held[0], "1h"); err != nil {
			return err
		}
		if err := w.start(ctx, web{
			name: "short", replicas: 1, labels: prefers, template: annotations{policy.BurstAfterAnnotation: "3s"},
		}); err != nil {
			return err
		}
		if err := w.awaitRunning(ctx, "short", 0, 1); err != nil {
			return err
		}
		if err := w.boundAfter(ctx, "short", "3s"); err != nil {
			return err
		}
		if err := w.run(ctx, "delete", "deployment", "short"); err != nil {
			return err
		}
		if err := w.awaitRunning(ctx, "short", 0, 0); err != nil {
			return err
		}
		still, err := w.awaitHeld(ctx, "long", 0, 0, 1, policy.ReasonBurstAfter)
		if err != nil {
			return err
		}
		if was, is := held[0].ResourceVersion, still[0].ResourceVersion; was != is {
			return fmt.Errorf("pod %s changed while it waited, from resource version %s to %s:\n%+v\n%+v", held[0].Name,
				was, is, held[0].Status, still[0].Status)
		}
		w.printf("  Pod %s has not changed while it waits (resource version %s)", held[0].Name, held[0].ResourceVersion)
		w.printf("burst-after of the Pod that waits becomes shorter, and it bursts:")
		if err := w.annotate(ctx, "pod/"+held[0].Name, policy.BurstAfterAnnotation+"=1s"); err != nil {
			return err
		}
		return w.awaitRunning(ctx, "long", 0, 1)
	})
}

// saysUntil checks that the condition of a Pod has the point in time at which it may burst.
func saysUntil(pod *corev1.Pod, burstAfter string) error {
	wait, _, err := policy.ParseBurstAfter(annotations{policy.BurstAfterAnnotation: burstAfter})
	if err != nil {
		return err
	}
	until := pod.CreationTimestamp.Add(wait).UTC().Format("2006-01-02T15:04:05Z")
	if text := schedulingMessage(pod); !strings.Contains(text, until) {
		return fmt.Errorf("the condition of pod %s says %q: want the time %s", pod.Name, text, until)
	}
	return nil
}

// boundAfter checks that the Pods were bound no earlier than so long after their creation.
func (w *World) boundAfter(ctx context.Context, app, burstAfter string) error {
	wait, _, err := policy.ParseBurstAfter(annotations{policy.BurstAfterAnnotation: burstAfter})
	if err != nil {
		return err
	}
	pods, err := w.pods(ctx, app)
	if err != nil {
		return err
	}
	for i := range pods {
		condition := policy.PodCondition(&pods[i], corev1.PodScheduled)
		if condition == nil || condition.Status != corev1.ConditionTrue {
			return fmt.Errorf("pod %s has no condition of its binding", pods[i].Name)
		}
		if at, may := condition.LastTransitionTime.Time, pods[i].CreationTimestamp.Add(wait); at.Before(may) {
			return fmt.Errorf("pod %s was bound at %s: want no earlier than %s", pods[i].Name, at, may)
		}
	}
	return nil
}

func playWaitQuota(ctx context.Context, w *World) error {
	err := w.withoutLocalNodes(ctx, func(ctx context.Context) error {
		if err := w.start(ctx, web{name: "quota", replicas: 6, template: annotations{
			policy.LocalReplicasAnnotation: "2", policy.BurstAfterAnnotation: "10m",
		}}); err != nil {
			return err
		}
		if _, err := w.awaitHeld(ctx, "quota", 0, 4, 2, policy.ReasonBurstAfter); err != nil {
			return err
		}
		w.printf("A higher quota makes none of the Pods in the cloud wait, and a further replica waits:")
		if err := w.start(ctx, web{name: "other", replicas: 3, own: annotations{
			policy.LocalReplicasAnnotation: "0", policy.BurstAfterAnnotation: "10m",
		}}); err != nil {
			return err
		}
		return w.awaitRunning(ctx, "other", 0, 3)
	})
	if err != nil {
		return err
	}
	return w.awaitRunning(ctx, "quota", 2, 4)
}

// playWaitUnmanaged lets two Deployments without shares wait, one until its time and one until a node is back.
func playWaitUnmanaged(ctx context.Context, w *World) error {
	err := w.withoutLocalNodes(ctx, func(ctx context.Context) error {
		for name, wait := range map[string]string{"soon": "3s", "long": "10m"} {
			if err := w.start(ctx, web{
				name: name, replicas: 2, own: annotations{policy.BurstAfterAnnotation: wait},
			}); err != nil {
				return err
			}
		}
		if err := w.awaitRunning(ctx, "soon", 0, 2); err != nil {
			return err
		}
		if err := w.boundAfter(ctx, "soon", "3s"); err != nil {
			return err
		}
		pods, err := w.pods(ctx, "long")
		if err != nil {
			return err
		}
		for i := range pods {
			if pods[i].Spec.NodeName != "" || policy.ToleratesProvider(&pods[i].Spec) {
				return fmt.Errorf("pod %s is on node %q and tolerates %v: want that it waits and does not tolerate "+
					"virtual nodes", pods[i].Name, pods[i].Spec.NodeName, pods[i].Spec.Tolerations)
			}
		}
		w.printf("  long: 2 Pods wait and do not tolerate virtual nodes: a node autoscaler would add a node for them")
		return nil
	})
	if err != nil {
		return err
	}
	return w.awaitRunning(ctx, "long", 2, 0)
}

// playWaitRollout updates a Deployment whose local replicas fill the local nodes: a Pod fits on a node alone, and one
// of the three nodes is cordoned.
func playWaitRollout(ctx context.Context, w *World) (err error) {
	cordoned := system.LocalNode(2)
	if err := w.run(ctx, "cordon", cordoned); err != nil {
		return err
	}
	defer func() {
		if uncordonErr := w.run(context.WithoutCancel(ctx), "uncordon", cordoned); err == nil {
			err = uncordonErr
		}
	}()
	if err := w.start(ctx, web{
		name: "full", replicas: 4, cpu: "3", maxUnavailable: "3",
		template: annotations{policy.LocalReplicasAnnotation: "2", policy.BurstAfterAnnotation: "10m"},
	}); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "full", 2, 2); err != nil {
		return err
	}
	if err := w.awaitRanked(ctx, "full"); err != nil {
		return err
	}
	if err := w.run(ctx, "set", "image", "deployment/full", "main=nginx:1.29"); err != nil {
		return err
	}
	if err := w.run(ctx, "rollout", "status", "deployment/full", "--timeout=90s"); err != nil {
		return err
	}
	return w.awaitRunning(ctx, "full", 2, 2)
}

// awaitTolerated blocks until a new Pod of a controller in the namespace tolerates virtual nodes from the beginning: it
// is managed. The webhook is not called for bare Pods without a key.
func (w *World) awaitTolerated(ctx context.Context, what string) error {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "probe", OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "example.com/v1", Kind: "Probe", Name: "probe", UID: "probe", Controller: new(true),
		}}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "probe", Image: "probe"}}},
	}
	dryRun := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	return w.await(ctx, what, func(ctx context.Context) (bool, string, error) {
		created, err := w.client.CoreV1().Pods(w.Namespace).Create(ctx, pod, dryRun)
		if err != nil {
			return false, "", fmt.Errorf("creating a pod as a dry run: %w", err)
		}
		return policy.ToleratesProvider(&created.Spec), "its Pods do not tolerate virtual nodes", nil
	})
}
