package stories

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// where is how many active Pods are local and in the cloud, how many of all run, and the rest.
type where struct{ local, cloud, pending, running, terminating int }

func (s where) String() string {
	return fmt.Sprintf("%d local, %d in the cloud, %d without a node, %d terminating; %d running", s.local, s.cloud, s.pending, s.terminating, s.running)
}

func isVirtual(node string) bool { return strings.HasPrefix(node, "virtual-node-cci-") }

func (w *World) hasServiceAccount(ctx context.Context) (bool, string, error) {
	_, err := w.client.CoreV1().ServiceAccounts(w.Namespace).Get(ctx, "default", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, "it is not there", nil
	}
	return err == nil, "", err
}

func (w *World) pods(ctx context.Context, app string) ([]corev1.Pod, error) {
	list, err := w.client.CoreV1().Pods(w.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil {
		return nil, fmt.Errorf("listing the pods of %s: %w", app, err)
	}
	return list.Items, nil
}

func count(pods []corev1.Pod) where {
	var s where
	for i := range pods {
		pod := &pods[i]
		switch {
		case pod.DeletionTimestamp != nil:
			s.terminating++
			continue
		case pod.Spec.NodeName == "":
			s.pending++
		case isVirtual(pod.Spec.NodeName):
			s.cloud++
		default:
			s.local++
		}
		if pod.Status.Phase == corev1.PodRunning && isReady(pod) {
			s.running++
		}
	}
	return s
}

func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// awaitRunning blocks until exactly so many Pods run on either side and nothing else is left, then tells where they are.
func (w *World) awaitRunning(ctx context.Context, app string, local, cloud int) error {
	want := where{local: local, cloud: cloud, running: local + cloud}
	err := w.await(ctx, fmt.Sprintf("the pods of %s to be %d local and %d in the cloud, all running", app, local, cloud), func(ctx context.Context) (bool, string, error) {
		pods, err := w.pods(ctx, app)
		if err != nil {
			return false, "", err
		}
		return count(pods) == want, count(pods).String(), nil
	})
	if err != nil {
		return err
	}
	w.tell("  %s: %d local, %d in the cloud, all running", app, local, cloud)
	return nil
}

// tellPods prints where each Pod of the namespace is, as a user would look.
func (w *World) tellPods(ctx context.Context) {
	text, err := w.kubectl(ctx, "", "get", "pods", "-o", "wide")
	if err != nil {
		text = err.Error()
	}
	for line := range strings.Lines(text) {
		w.tell("  %s", strings.TrimRight(line, "\n"))
	}
}

// localPods are the names of the active Pods on local nodes.
func (w *World) localPods(ctx context.Context, app string) ([]string, error) {
	pods, err := w.pods(ctx, app)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, pod := range pods {
		if pod.DeletionTimestamp == nil && pod.Spec.NodeName != "" && !isVirtual(pod.Spec.NodeName) {
			names = append(names, pod.Name)
		}
	}
	return names, nil
}
