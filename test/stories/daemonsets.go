package stories

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

// playDaemonSets runs a DaemonSet that tolerates every taint, in a user's namespace and in kube-system, and one that was made while
// admission was down.
func playDaemonSets(ctx context.Context, w *World) error {
	inKubeSystem := *w
	inKubeSystem.Namespace = metav1.NamespaceSystem
	for _, in := range []*World{w, &inKubeSystem} {
		if err := in.apply(ctx, "daemonset-everywhere.yaml"); err != nil {
			return err
		}
		if err := in.awaitAtHome(ctx, "everywhere"); err != nil {
			return err
		}
	}
	if err := inKubeSystem.run(ctx, "delete", "daemonset", "everywhere"); err != nil {
		return err
	}
	if err := w.run(ctx, "delete", "daemonset", "everywhere", "--cascade=foreground"); err != nil {
		return err
	}
	return w.daemonSetOfAnOutage(ctx)
}

// awaitAtHome blocks until the DaemonSet wants a Pod on each local node and no other, and all are ready.
func (w *World) awaitAtHome(ctx context.Context, name string) error {
	nodes, err := w.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: policy.NodeTypeLabel + "!=" + policy.NodeTypeVirtual})
	if err != nil {
		return fmt.Errorf("listing the local nodes: %w", err)
	}
	if err := w.awaitRunning(ctx, name, len(nodes.Items), 0); err != nil {
		return err
	}
	return w.await(ctx, "the DaemonSet "+name+" to want the local nodes only, and to have what it wants", func(ctx context.Context) (bool, string, error) {
		set, err := w.client.AppsV1().DaemonSets(w.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, "", fmt.Errorf("getting the DaemonSet: %w", err)
		}
		s, want := set.Status, int32(len(nodes.Items))
		holds := s.ObservedGeneration == set.Generation && s.DesiredNumberScheduled == want && s.CurrentNumberScheduled == want &&
			s.NumberReady == want && s.NumberUnavailable == 0 && s.NumberMisscheduled == 0
		return holds, fmt.Sprintf("%d wanted, %d there, %d ready, %d unavailable, %d where they should not be",
			s.DesiredNumberScheduled, s.CurrentNumberScheduled, s.NumberReady, s.NumberUnavailable, s.NumberMisscheduled), nil
	})
}

// daemonSetOfAnOutage is put on virtual nodes too, where its Pods are refused with the reason of the seeds, and is put right by a restart
// of its rollout.
func (w *World) daemonSetOfAnOutage(ctx context.Context) error {
	err := w.without(ctx, system.Admission, func(ctx context.Context) error {
		if err := w.apply(ctx, "daemonset-everywhere.yaml"); err != nil {
			return err
		}
		return w.await(ctx, "the DaemonSet's pods on virtual nodes to say "+string(policy.ReasonDaemonSet), func(ctx context.Context) (bool, string, error) {
			pods, err := w.pods(ctx, "everywhere")
			if err != nil {
				return false, "", err
			}
			refused := 0
			for _, pod := range pods {
				if isVirtual(pod.Spec.NodeName) && pod.Status.Reason == string(policy.ReasonDaemonSet) {
					refused++
				}
			}
			now := count(pods)
			return refused > 0 && refused == now.cloud && now.running == now.local, fmt.Sprintf("%s; %d refused", now, refused), nil
		})
	})
	if err != nil {
		return err
	}
	if err := w.run(ctx, "rollout", "restart", "daemonset/everywhere"); err != nil {
		return err
	}
	return w.awaitAtHome(ctx, "everywhere")
}
