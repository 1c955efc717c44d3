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

// playSoldOut takes all room from the cloud while a Deployment bursts, and gives it back.
func playSoldOut(ctx context.Context, w *World) error {
	err := w.whileSoldOut(ctx, func(ctx context.Context) error {
		if err := w.apply(ctx, "nginx-deployment.yaml"); err != nil {
			return err
		}
		// The Pods that found no place are made again, and no node of the cloud takes their successors.
		if err := w.awaitRefused(ctx, "nginx", 1, 3, policy.ReasonLocalQuota); err != nil {
			return err
		}
		return w.awaitLocked(ctx)
	})
	if err != nil {
		return err
	}
	w.tell("The cloud has room again, and nobody waits for half an hour:")
	if err := w.run(ctx, "uncordon", "-l", policy.NodeTypeLabel+"="+policy.NodeTypeVirtual); err != nil {
		return err
	}
	return w.awaitRunning(ctx, "nginx", 1, 3)
}

// whileSoldOut runs play while the cloud has no room for new Pods.
func (w *World) whileSoldOut(ctx context.Context, play func(context.Context) error) (err error) {
	w.tell("The cloud is sold out:")
	if err := w.simulate(ctx, http.MethodPost, "faults", `{"kind":"soldOut"}`); err != nil {
		return err
	}
	defer func() {
		if healErr := w.simulate(context.WithoutCancel(ctx), http.MethodDelete, "faults", ""); err == nil {
			err = healErr
		}
	}()
	return play(ctx)
}

// simulate asks the simulated cloud for something that a real one does by itself.
func (w *World) simulate(ctx context.Context, method, path, body string) error {
	request, err := http.NewRequestWithContext(ctx, method, w.cluster.Cloud.Endpoint+"/_sim/"+path, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("making the request %s: %w", path, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking the simulator for %s: %w", path, err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		words, _ := io.ReadAll(response.Body)
		return fmt.Errorf("asking the simulator for %s: %s: %s", path, response.Status, words)
	}
	return nil
}

// awaitLocked blocks until every virtual node says that it is locked, and until when.
func (w *World) awaitLocked(ctx context.Context) error {
	var words string
	err := w.await(ctx, "the virtual nodes to be locked", func(ctx context.Context) (bool, string, error) {
		nodes, err := w.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: policy.NodeTypeLabel + "=" + policy.NodeTypeVirtual})
		if err != nil {
			return false, "", err
		}
		for i := range nodes.Items {
			if words = soldOutWords(&nodes.Items[i]); words == "" || !nodes.Items[i].Spec.Unschedulable {
				return false, fmt.Sprintf("node %s is open", nodes.Items[i].Name), nil
			}
		}
		return true, "", nil
	})
	if err != nil {
		return err
	}
	w.tell("  the virtual nodes are locked: %s", words)
	return nil
}

// soldOutWords are those of a node's condition, empty where it has room.
func soldOutWords(node *corev1.Node) string {
	for _, c := range node.Status.Conditions {
		if string(c.Type) == string(policy.ReasonSoldOut) && c.Status == corev1.ConditionTrue {
			return c.Message
		}
	}
	return ""
}
