package stories

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

func playKinds(ctx context.Context, w *World) error {
	for _, step := range []func(context.Context) error{
		w.jobBursts, w.statefulSetBursts, w.daemonSetStays, w.kubeSystemStays,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *World) jobBursts(ctx context.Context) error {
	if err := w.apply(ctx, "job.yaml"); err != nil {
		return err
	}
	err := w.await(ctx, "the Job to complete", func(ctx context.Context) (bool, string, error) {
		job, err := w.client.BatchV1().Jobs(w.Namespace).Get(ctx, "pi-with-timeout", metav1.GetOptions{})
		if err != nil {
			return false, "", fmt.Errorf("getting the Job: %w", err)
		}
		status := job.Status
		now := fmt.Sprintf("%d active, %d succeeded, %d failed", status.Active, status.Succeeded, status.Failed)
		return jobComplete(job), now, nil
	})
	if err != nil {
		return err
	}
	pods, err := w.pods(ctx, "pi")
	if err != nil {
		return err
	}
	local, cloud := 0, 0
	for _, pod := range pods {
		if isVirtual(pod.Spec.NodeName) {
			cloud++
		} else {
			local++
		}
	}
	if local < 1 || cloud < 1 {
		return fmt.Errorf("%d pods of the Job ran on local nodes and %d in the cloud: want both", local, cloud)
	}
	w.printf("  the Job completed: %d Pods on local nodes, %d in the cloud", local, cloud)
	return nil
}

func jobComplete(job *batchv1.Job) bool {
	for _, condition := range job.Status.Conditions {
		if condition.Type == batchv1.JobComplete && condition.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}

func (w *World) statefulSetBursts(ctx context.Context) error {
	if err := w.apply(ctx, "statefulset.yaml"); err != nil {
		return err
	}
	return w.awaitRunning(ctx, "db", 1, 2)
}

// daemonSetStays runs a DaemonSet with a burst label that sends other Pods to the cloud.
func (w *World) daemonSetStays(ctx context.Context) error {
	if err := w.apply(ctx, "daemonset.yaml"); err != nil {
		return err
	}
	localNodes := metav1.ListOptions{LabelSelector: policy.NodeTypeLabel + "!=" + policy.NodeTypeVirtual}
	nodes, err := w.client.CoreV1().Nodes().List(ctx, localNodes)
	if err != nil {
		return fmt.Errorf("listing the local nodes: %w", err)
	}
	open := 0 // Nodes for a DaemonSet without tolerations.
	for _, node := range nodes.Items {
		if len(node.Spec.Taints) == 0 {
			open++
		}
	}
	if err := w.awaitRunning(ctx, "agent", open, 0); err != nil {
		return err
	}
	set, err := w.client.AppsV1().DaemonSets(w.Namespace).Get(ctx, "agent", metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("getting the DaemonSet: %w", err)
	}
	if int(set.Status.DesiredNumberScheduled) != open {
		return fmt.Errorf("the DaemonSet wants %d nodes: want the %d local ones", set.Status.DesiredNumberScheduled, open)
	}
	return nil
}

// kubeSystemStays runs a Pod in kube-system that fits on no local node and has a burst label.
func (w *World) kubeSystemStays(ctx context.Context) error {
	in := *w
	in.Namespace = "kube-system"
	if err := in.apply(ctx, "kube-system.yaml"); err != nil {
		return err
	}
	if err := in.awaitWaiting(ctx, "never-bursts", 0, 1, policy.ReasonProtectedNamespace); err != nil {
		return err
	}
	_, err := in.kubectl(ctx, "", "delete", "pod", "never-bursts", "--wait=false")
	return err
}
