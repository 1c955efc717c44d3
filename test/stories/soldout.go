package stories

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// playSoldOut makes the cloud sold out while a Deployment bursts, and then available again.
func playSoldOut(ctx context.Context, w *World) error {
	err := w.whileSoldOut(ctx, func(ctx context.Context) error {
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

// whileSoldOut calls play while the cloud has no capacity for new Pods.
func (w *World) whileSoldOut(ctx context.Context, play func(context.Context) error) (err error) {
	w.printf("The cloud is sold out:")
	if err := w.simulate(ctx, http.MethodPost, "faults", `{"kind":"soldOut"}`); err != nil {
		return err
	}
	defer func() {
		if resetErr := w.simulate(context.WithoutCancel(ctx), http.MethodDelete, "faults", ""); err == nil {
			err = resetErr
		}
	}()
	return play(ctx)
}

// simulate makes the simulated cloud do something that a real cloud does on its own.
func (w *World) simulate(ctx context.Context, method, path, body string) error {
	request, err := http.NewRequestWithContext(ctx, method, w.cluster.Cloud.Control+"/_sim/"+path,
		strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("creating the request %s: %w", path, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("calling the simulator at %s: %w", path, err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		message, _ := io.ReadAll(response.Body)
		return fmt.Errorf("calling the simulator at %s: %s: %s", path, response.Status, message)
	}
	return nil
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
			if message = soldOutMessage(&nodes.Items[i]); message == "" || !nodes.Items[i].Spec.Unschedulable {
				return false, fmt.Sprintf("node %s is not locked", nodes.Items[i].Name), nil
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

// soldOutMessage returns the message of the node's condition. It is empty if the cloud has capacity.
func soldOutMessage(node *corev1.Node) string {
	for _, c := range node.Status.Conditions {
		if string(c.Type) == string(policy.ReasonSoldOut) && c.Status == corev1.ConditionTrue {
			return c.Message
		}
	}
	return ""
}
