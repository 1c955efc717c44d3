package stories

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// playSoldOut makes the cloud sold out while a Deployment bursts, and then available again.
func playSoldOut(ctx context.Context, w *World) error {
	w.printf("The cloud is sold out:")
	err := w.whileFault(ctx, `{"kind":"soldOut"}`, func(ctx context.Context) error {
		if err := w.apply(ctx, "nginx-deployment.yaml"); err != nil {
			return err
		}
		// The Pods that the cloud did not accept are replaced, and their successors find every virtual node locked.
		if err := w.awaitRefused(ctx, "nginx", 1, 3, policy.ReasonLocalQuota); err != nil {
			return err
		}
		return w.awaitLocked(ctx)
	})
	if err != nil {
		return err
	}
	w.printf("The cloud has capacity again. Uncordoning ends the lock early:")
	if err := w.run(ctx, "uncordon", "-l", policy.NodeTypeLabel+"="+policy.NodeTypeVirtual); err != nil {
		return err
	}
	return w.awaitRunning(ctx, "nginx", 1, 3)
}

// playSoldOutSize makes one size sold out, while Pods of another size burst to the same nodes.
func playSoldOutSize(ctx context.Context, w *World) error {
	w.printf("The cloud has no capacity for the size of one Deployment:")
	err := w.whileFault(ctx, `{"kind":"soldOut","path":"-large-"}`, func(ctx context.Context) error {
		if err := w.apply(ctx, "large.yaml"); err != nil {
			return err
		}
		if err := w.awaitSizeSoldOut(ctx, "64.00_128.0"); err != nil {
			return err
		}
		if err := w.apply(ctx, "nginx-deployment.yaml"); err != nil {
			return err
		}
		return w.awaitRunning(ctx, "nginx", 1, 3)
	})
	if err != nil {
		return err
	}
	w.printf("The cloud has capacity for it again:")
	return w.awaitRunning(ctx, "large", 0, 1)
}

// awaitSizeSoldOut blocks until a virtual node reports that a size is sold out. No virtual node may be locked.
func (w *World) awaitSizeSoldOut(ctx context.Context, size string) error {
	var message string
	virtual := metav1.ListOptions{LabelSelector: policy.NodeTypeLabel + "=" + policy.NodeTypeVirtual}
	err := w.await(ctx, "size "+size+" to be sold out", func(ctx context.Context) (bool, string, error) {
		nodes, err := w.client.CoreV1().Nodes().List(ctx, virtual)
		if err != nil {
			return false, "", err
		}
		for i := range nodes.Items {
			node := &nodes.Items[i]
			if node.Spec.Unschedulable {
				return false, "", fmt.Errorf("node %s is locked: %s",
					node.Name, soldOutMessage(node, corev1.ConditionTrue))
			}
			if message = soldOutMessage(node, corev1.ConditionFalse); strings.Contains(message, size) {
				return true, "", nil
			}
		}
		return false, "no virtual node reports it", nil
	})
	if err != nil {
		return err
	}
	w.printf("  the virtual nodes take Pods: %s", message)
	return nil
}

// whileFault calls play while the cloud has a fault.
func (w *World) whileFault(ctx context.Context, fault string, play func(context.Context) error) (err error) {
	if err := w.cluster.Cloud.Simulate(ctx, http.MethodPost, "faults", json.RawMessage(fault), nil); err != nil {
		return err
	}
	defer func() {
		reset := w.cluster.Cloud.Simulate(context.WithoutCancel(ctx), http.MethodDelete, "faults", nil, nil)
		if err == nil {
			err = reset
		}
	}()
	return play(ctx)
}

// awaitLocked blocks until every virtual node is locked and its condition reports until when.
func (w *World) awaitLocked(ctx context.Context) error {
	var message string
	virtual := metav1.ListOptions{LabelSelector: policy.NodeTypeLabel + "=" + policy.NodeTypeVirtual}
	err := w.await(ctx, "the virtual nodes to be locked", func(ctx context.Context) (bool, string, error) {
		nodes, err := w.client.CoreV1().Nodes().List(ctx, virtual)
		if err != nil {
			return false, "", err
		}
		for i := range nodes.Items {
			node := &nodes.Items[i]
			if message = soldOutMessage(node, corev1.ConditionTrue); message == "" || !node.Spec.Unschedulable {
				return false, fmt.Sprintf("node %s is not locked", node.Name), nil
			}
		}
		return true, "", nil
	})
	if err != nil {
		return err
	}
	w.printf("  the virtual nodes are locked: %s", message)
	return nil
}

// soldOutMessage returns the message of the node's condition, empty if it has another status.
func soldOutMessage(node *corev1.Node, status corev1.ConditionStatus) string {
	for _, c := range node.Status.Conditions {
		if string(c.Type) == string(policy.ReasonSoldOut) && c.Status == status {
			return c.Message
		}
	}
	return ""
}
