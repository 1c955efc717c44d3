package stories

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// playOverflow runs six Pods of 3 CPU on three local nodes of 4 CPU.
func playOverflow(ctx context.Context, w *World) (err error) {
	w.printf("The global switch is off. Three local nodes have capacity for three of six Pods:")
	if err := w.setSwitch(ctx, "false"); err != nil {
		return err
	}
	defer func() {
		if unsetErr := w.unsetSwitch(ctx); err == nil {
			err = unsetErr
		}
	}()
	if err := w.apply(ctx, "overflow.yaml"); err != nil {
		return err
	}
	if err := w.awaitWaiting(ctx, "overflow", 3, 3, policy.ReasonSwitchOff); err != nil {
		return err
	}
	w.printf("The switch is turned on, and nothing else changes:")
	if err := w.setSwitch(ctx, "true"); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "overflow", 3, 3); err != nil {
		return err
	}
	w.printPods(ctx)
	return nil
}

// setSwitch sets the global switch.
func (w *World) setSwitch(ctx context.Context, value string) error {
	return w.setKey(ctx, policy.SwitchKey, value)
}

// setKey sets a key of the ConfigMap of the global switch.
func (w *World) setKey(ctx context.Context, key, value string) error {
	manifest := fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: %s, namespace: %s}, data: {%s: %q}}",
		policy.SwitchConfigMapName, policy.SwitchConfigMapNamespace, key, value)
	w.printf("$ kubectl apply -f - <<< '%s'", manifest)
	in := *w
	in.Namespace = policy.SwitchConfigMapNamespace
	_, err := in.kubectl(ctx, manifest, "apply", "-f", "-")
	return err
}

// unsetSwitch deletes the ConfigMap, so that the switch is unset.
func (w *World) unsetSwitch(ctx context.Context) error {
	configMaps := w.client.CoreV1().ConfigMaps(policy.SwitchConfigMapNamespace)
	err := configMaps.Delete(context.WithoutCancel(ctx), policy.SwitchConfigMapName, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting the global switch: %w", err)
	}
	return nil
}

// awaitWaiting blocks until the given numbers of Pods run on local nodes and wait. Each waiting Pod must have an Event
// with the reason.
func (w *World) awaitWaiting(ctx context.Context, app string, local, waiting int, reason policy.Reason) error {
	what := fmt.Sprintf("%d pods of %s to run on local nodes and %d to wait with reason %s", local, app, waiting,
		reason)
	var message string
	err := w.await(ctx, what, func(ctx context.Context) (bool, string, error) {
		pods, err := w.pods(ctx, app)
		if err != nil {
			return false, "", err
		}
		if got, want := count(pods), (podCounts{local: local, pending: waiting, running: local}); got != want {
			return false, got.String(), nil
		}
		for i := range pods {
			if pods[i].Spec.NodeName != "" {
				continue
			}
			if message, err = w.eventMessage(ctx, &pods[i], reason); err != nil || message == "" {
				return false, fmt.Sprintf("pod %s waits and has no Event with the reason", pods[i].Name), err
			}
		}
		return true, "", nil
	})
	if err != nil {
		return err
	}
	w.printf("  %s: %d run on local nodes, %d wait: %s", app, local, waiting, message)
	return nil
}

// eventMessage returns the message of the Pod's Event with the reason. It is empty if there is none.
func (w *World) eventMessage(ctx context.Context, pod *corev1.Pod, reason policy.Reason) (string, error) {
	ofPod := metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(pod.UID)}
	events, err := w.client.CoreV1().Events(pod.Namespace).List(ctx, ofPod)
	if err != nil {
		return "", fmt.Errorf("listing the events of pod %s: %w", pod.Name, err)
	}
	for _, event := range events.Items {
		if event.Reason == string(reason) {
			return strings.TrimSpace(event.Message), nil
		}
	}
	return "", nil
}
