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
	w.tell("The global switch is off, and three local nodes hold three of six Pods:")
	if err := w.setSwitch(ctx, "false"); err != nil {
		return err
	}
	defer func() {
		if forgetErr := w.forgetSwitch(ctx); err == nil {
			err = forgetErr
		}
	}()
	if err := w.apply(ctx, "overflow.yaml"); err != nil {
		return err
	}
	if err := w.awaitWaiting(ctx, "overflow", 3, 3, policy.ReasonSwitchOff); err != nil {
		return err
	}
	w.tell("The switch is turned on, and nothing else is touched:")
	if err := w.setSwitch(ctx, "true"); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "overflow", 3, 3); err != nil {
		return err
	}
	w.tellPods(ctx)
	return nil
}

// setSwitch writes the global switch.
func (w *World) setSwitch(ctx context.Context, value string) error {
	manifest := fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: %s, namespace: %s}, data: {%s: %q}}",
		policy.SwitchConfigMapName, policy.SwitchConfigMapNamespace, policy.SwitchKey, value)
	w.tell("$ kubectl apply -f - <<< '%s'", manifest)
	in := *w
	in.Namespace = policy.SwitchConfigMapNamespace
	_, err := in.kubectl(ctx, manifest, "apply", "-f", "-")
	return err
}

// forgetSwitch removes the ConfigMap: the switch is unset again.
func (w *World) forgetSwitch(ctx context.Context) error {
	err := w.client.CoreV1().ConfigMaps(policy.SwitchConfigMapNamespace).Delete(context.WithoutCancel(ctx), policy.SwitchConfigMapName, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("removing the global switch: %w", err)
	}
	return nil
}

// awaitWaiting blocks until so many Pods run at home and so many wait, each with an Event that gives the reason.
func (w *World) awaitWaiting(ctx context.Context, app string, local, waiting int, reason policy.Reason) error {
	what := fmt.Sprintf("%d pods of %s to run at home and %d to wait because of %s", local, app, waiting, reason)
	var words string
	err := w.await(ctx, what, func(ctx context.Context) (bool, string, error) {
		pods, err := w.pods(ctx, app)
		if err != nil {
			return false, "", err
		}
		if got, want := count(pods), (where{local: local, pending: waiting, running: local}); got != want {
			return false, got.String(), nil
		}
		for i := range pods {
			if pods[i].Spec.NodeName != "" {
				continue
			}
			if words, err = w.saidTo(ctx, &pods[i], reason); err != nil || words == "" {
				return false, fmt.Sprintf("pod %s waits, and nothing says why", pods[i].Name), err
			}
		}
		return true, "", nil
	})
	if err != nil {
		return err
	}
	w.tell("  %s: %d run at home, %d wait: %s", app, local, waiting, words)
	return nil
}

// saidTo is the message of the Event that gives a Pod the reason, empty where there is none.
func (w *World) saidTo(ctx context.Context, pod *corev1.Pod, reason policy.Reason) (string, error) {
	events, err := w.client.CoreV1().Events(pod.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(pod.UID)})
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
