package stories

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// Further lists the less common stories. They are tests, and not part of the demonstration. They need Shape.
func Further() []Story {
	return []Story{
		{
			"references",
			"A Deployment has mirrors of its ConfigMap, Secret and token in the cloud; they follow changes and are " +
				"deleted with it",
			playReferences,
		},
		{
			"waiting",
			"A Pod over its quota waits with a reason while the virtual nodes are cordoned, takes a slot that " +
				"becomes free, and bursts after they are uncordoned",
			playWaiting,
		},
		{
			"preemption", "A Pod below its quota preempts one of lower priority; Pods over it preempt none",
			playPreemption,
		},
		{"placeholder", "The cloud comes last: Pods burst only after all low-priority placeholders are preempted",
			playPlaceholder},
		{
			"restrictions",
			"Pods that the cloud cannot run wait for local nodes with a reason, and run there when there is capacity",
			playRestrictions,
		},
		{
			"anti-affinity",
			"Of nine replicas that must be on different hosts, two are local and seven run in the cloud",
			playAntiAffinity,
		},
		{
			"gpu",
			"Pods with GPUs stay local whatever their quota, and kubectl apply and the Pods say why",
			playGPU,
		},
		{
			"node-selector",
			"Pods with a nodeSelector that no virtual node matches stay local, with a quota and with enforce, and " +
				"say why",
			playNodeSelector,
		},
		{
			"spread",
			"Replicas that must be spread over zones burst; those that must be spread over hosts stay local and say " +
				"why",
			playSpread,
		},
		{
			"workloads",
			"The burst label of a Deployment, StatefulSet, Job and CronJob applies to their Pods, and a Pod's own " +
				"label wins",
			playWorkloads,
		},
		{
			"replacements",
			"hostPath volumes are replaced in the cloud as the annotation says, and are unchanged without it",
			playReplacements,
		},
		{"daemonsets", "A DaemonSet that tolerates every taint runs on local nodes only, without failed Pods",
			playDaemonSets},
		{"resolv-conf", "Name servers in an annotation of a virtual node apply to its Pods", playResolvConf},
		{
			"extender-down",
			"While the extender is down, unmanaged Pods run, and managed Pods wait until it is back",
			playExtenderDown,
		},
		{
			"admission-down",
			"While admission is down, Pods are created and stay local; waiting Pods burst when it is back",
			playAdmissionDown,
		},
		{
			"sold-out",
			"A sold-out cloud locks its nodes, and Pods over their quota wait with that reason until it has capacity",
			playSoldOut,
		},
		{
			"sold-out-size",
			"A size that is sold out lets its own Pods wait; Pods of other sizes run in the cloud",
			playSoldOutSize,
		},
		{
			"replication-controller", "Scaling in a ReplicationController removes cloud replicas first",
			playReplicationController,
		},
		{
			"templates", "The head and the workers of one owner, each with LOCAL_REPLICAS: \"1\", have a quota each",
			playTemplates,
		},
		{"rollouts", "The burst label of an Argo Rollout applies to its Pods", playRollouts},
		{
			"full-rollout",
			"A rolling update on full local nodes exceeds no quota, and deleting cloud Pods fills the quota again",
			playFullRollout,
		},
		{"labels", "Burst labels: off never bursts, localPrefer and auto start on local nodes", playLabels},
	}
}

// whileCordoned calls play while the virtual nodes are cordoned, and then uncordons them.
func (w *World) whileCordoned(ctx context.Context, play func(context.Context) error) (err error) {
	selector := policy.NodeTypeLabel + "=" + policy.NodeTypeVirtual
	if err := w.run(ctx, "cordon", "-l", selector); err != nil {
		return err
	}
	defer func() {
		if uncordonErr := w.run(context.WithoutCancel(ctx), "uncordon", "-l", selector); err == nil {
			err = uncordonErr
		}
	}()
	return play(ctx)
}

func playWaiting(ctx context.Context, w *World) error {
	err := w.whileCordoned(ctx, func(ctx context.Context) error {
		if err := w.apply(ctx, "nginx-deployment.yaml"); err != nil {
			return err
		}
		if err := w.awaitRefused(ctx, "nginx", 1, 3, policy.ReasonLocalQuota); err != nil {
			return err
		}
		local, err := w.localPods(ctx, "nginx")
		if err != nil {
			return err
		}
		if err := w.run(ctx, "delete", "pod", local[0], "--wait=false"); err != nil {
			return err
		}
		return w.awaitRefused(ctx, "nginx", 1, 3, policy.ReasonLocalQuota)
	})
	if err != nil {
		return err
	}
	return w.awaitRunning(ctx, "nginx", 1, 3)
}

// awaitRefused blocks until the given numbers of Pods run on local nodes and wait. The condition of each waiting Pod
// must contain the reason.
func (w *World) awaitRefused(ctx context.Context, app string, local, waiting int, reason policy.Reason) error {
	what := fmt.Sprintf("%d pods of %s to run on local nodes and %d to be refused with reason %s", local, app,
		waiting, reason)
	return w.await(ctx, what, func(ctx context.Context) (bool, string, error) {
		pods, err := w.pods(ctx, app)
		if err != nil {
			return false, "", err
		}
		if got, want := count(pods), (podCounts{local: local, pending: waiting, running: local}); got != want {
			return false, got.String(), nil
		}
		for i := range pods {
			text := schedulingMessage(&pods[i])
			if pods[i].Spec.NodeName == "" && !strings.Contains(text, string(reason)) {
				return false, fmt.Sprintf("pod %s waits: %s", pods[i].Name, text), nil
			}
		}
		return true, "", nil
	})
}

// schedulingMessage returns what the scheduler wrote on a Pod that it could not place.
func schedulingMessage(pod *corev1.Pod) string {
	if condition := policy.PodCondition(pod, corev1.PodScheduled); condition != nil {
		return condition.Message
	}
	return ""
}

// playPreemption fills three local nodes of 4 CPU with Pods of 3 CPU.
func playPreemption(ctx context.Context, w *World) error {
	if err := w.apply(ctx, "preemption.yaml"); err != nil {
		return err
	}
	defer func() {
		_, _ = w.kubectl(context.WithoutCancel(ctx), "", "delete", "priorityclass", "story-low", "story-high",
			"--ignore-not-found")
	}()
	if err := w.awaitRunning(ctx, "low", 3, 0); err != nil {
		return err
	}
	before, err := w.localPods(ctx, "low")
	if err != nil {
		return err
	}
	err = w.whileCordoned(ctx, func(ctx context.Context) error {
		if err := w.run(ctx, "scale", "deployment", "high", "--replicas=3"); err != nil {
			return err
		}
		// The scheduler calls the extender only for preemption, so admission sets the message.
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
	if kept := shared(before, after); kept != 2 {
		return fmt.Errorf("%d of %d pods of low priority were not preempted: want 2: only the Pod below its quota may "+
			"preempt",
			kept, len(before))
	}
	w.printf("  one Pod of low priority was preempted, two were not")
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
