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

// podCounts counts the active Pods on local nodes, in the cloud and without a node, the running Pods among them, and
// the terminating Pods.
type podCounts struct{ local, cloud, pending, running, terminating int }

func (s podCounts) String() string {
	return fmt.Sprintf("%d local, %d in the cloud, %d without a node, %d terminating; %d running",
		s.local, s.cloud, s.pending, s.terminating, s.running)
}

func isVirtual(node string) bool { return strings.HasPrefix(node, "virtual-node-cci-") }

func (w *World) hasServiceAccount(ctx context.Context) (bool, string, error) {
	_, err := w.client.CoreV1().ServiceAccounts(w.Namespace).Get(ctx, "default", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, "it does not exist", nil
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

func count(pods []corev1.Pod) podCounts {
	var s podCounts
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

// awaitRunning blocks until exactly the given numbers of Pods run on local nodes and in the cloud, and there are no
// others.
func (w *World) awaitRunning(ctx context.Context, app string, local, cloud int) error {
	want := podCounts{local: local, cloud: cloud, running: local + cloud}
	what := fmt.Sprintf("the pods of %s to be %d local and %d in the cloud, all running", app, local, cloud)
	err := w.await(ctx, what, func(ctx context.Context) (bool, string, error) {
		pods, err := w.pods(ctx, app)
		if err != nil {
			return false, "", err
		}
		return count(pods) == want, count(pods).String(), nil
	})
	if err != nil {
		return err
	}
	w.printf("  %s: %d local, %d in the cloud, all running", app, local, cloud)
	return nil
}

// printPods prints the Pods of the namespace with their nodes, as kubectl shows them.
func (w *World) printPods(ctx context.Context) {
	text, err := w.kubectl(ctx, "", "get", "pods", "-o", "wide")
	if err != nil {
		text = err.Error()
	}
	for line := range strings.Lines(text) {
		w.printf("  %s", strings.TrimRight(line, "\n"))
	}
}

// localPods returns the names of the active Pods on local nodes.
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
