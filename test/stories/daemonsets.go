package stories

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

// playDaemonSets runs a DaemonSet that tolerates every taint, in a user's namespace and in kube-system, and another one
// that is created while admission is down.
func playDaemonSets(ctx context.Context, w *World) error {
	inKubeSystem := *w
	inKubeSystem.Namespace = metav1.NamespaceSystem
	for _, in := range []*World{w, &inKubeSystem} {
		if err := in.apply(ctx, "daemonset-everywhere.yaml"); err != nil {
			return err
		}
		if err := in.awaitOnLocalNodes(ctx, "everywhere"); err != nil {
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

// awaitOnLocalNodes blocks until the DaemonSet wants a Pod on each local node and on no other, and all its Pods are
// ready.
func (w *World) awaitOnLocalNodes(ctx context.Context, name string) error {
	virtual := metav1.ListOptions{LabelSelector: policy.NodeTypeLabel + "!=" + policy.NodeTypeVirtual}
	nodes, err := w.client.CoreV1().Nodes().List(ctx, virtual)
	if err != nil {
		return fmt.Errorf("listing the local nodes: %w", err)
	}
	if err := w.awaitRunning(ctx, name, len(nodes.Items), 0); err != nil {
		return err
	}
	what := "the DaemonSet " + name + " to want only the local nodes, with a ready Pod on each"
	return w.await(ctx, what, func(ctx context.Context) (bool, string, error) {
		set, err := w.client.AppsV1().DaemonSets(w.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, "", fmt.Errorf("getting the DaemonSet: %w", err)
		}
		s, want := set.Status, int32(len(nodes.Items))
		holds := s.ObservedGeneration == set.Generation && s.DesiredNumberScheduled == want &&
			s.CurrentNumberScheduled == want && s.NumberReady == want && s.NumberUnavailable == 0 && s.NumberMisscheduled == 0
		return holds, fmt.Sprintf("%d desired, %d current, %d ready, %d unavailable, %d misscheduled",
			s.DesiredNumberScheduled, s.CurrentNumberScheduled, s.NumberReady, s.NumberUnavailable, s.NumberMisscheduled), nil
	})
}

// daemonSetOfAnOutage creates a DaemonSet while admission is down. Its Pods on virtual nodes are refused with the
// reason of DaemonSets. A restart of the rollout repairs it.
func (w *World) daemonSetOfAnOutage(ctx context.Context) error {
	err := w.without(ctx, system.Admission, func(ctx context.Context) error {
		if err := w.apply(ctx, "daemonset-everywhere.yaml"); err != nil {
			return err
		}
		what := "the DaemonSet's pods on virtual nodes to have the reason " + string(policy.ReasonDaemonSet)
		return w.await(ctx, what, func(ctx context.Context) (bool, string, error) {
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
			return refused > 0 && refused == now.cloud && now.running == now.local,
				fmt.Sprintf("%s; %d refused", now, refused), nil
		})
	})
	if err != nil {
		return err
	}
	if err := w.run(ctx, "rollout", "restart", "daemonset/everywhere"); err != nil {
		return err
	}
	return w.awaitOnLocalNodes(ctx, "everywhere")
}
