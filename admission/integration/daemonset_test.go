package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
)

const everywhere = "selector: {matchLabels: {app: x}}, template: {metadata: {labels: {app: x}}, " +
	"spec: {tolerations: [{operator: Exists}], containers: [{name: c, image: web}]}}"

// desired waits until the DaemonSet controller has seen the current DaemonSet and wants the number of Pods.
func desired(t *testing.T, ns string, count int32) {
	t.Helper()
	eventually(t, func() error {
		set, err := trial.Client().AppsV1().DaemonSets(ns).Get(t.Context(), "x", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if set.Status.ObservedGeneration != set.Generation {
			return errors.New("the controller has not seen the DaemonSet yet")
		}
		if got := set.Status.DesiredNumberScheduled; got != count {
			return fmt.Errorf("%d Pods are desired instead of %d", got, count)
		}
		return nil
	})
}

// There are two local nodes and a virtual node. Most such DaemonSets are in kube-system.
func TestADaemonSetThatToleratesEverythingRunsOnLocalNodesOnly(t *testing.T) {
	start(t)
	for name, ns := range map[string]string{"any namespace": namespace(t, nil), "kube-system": metav1.NamespaceSystem} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() {
				assert.NoError(t, trial.Client().AppsV1().DaemonSets(ns).Delete(context.Background(), "x", metav1.DeleteOptions{}))
			})
			apply(t, ns, manifest("apps/v1", "DaemonSet", "", everywhere))
			desired(t, ns, 2)
			eventually(t, func() error {
				list, err := podsOfX(t, ns)
				if err == nil && len(list.Items) != 2 {
					err = fmt.Errorf("%d Pods instead of 2", len(list.Items))
				}
				return err
			})
		})
	}
}

func TestADaemonSetThatTheWebhookMissedIsRepairedWhenItsTemplateChanges(t *testing.T) {
	ns := namespace(t, nil)
	apply(t, ns, manifest("apps/v1", "DaemonSet", "", everywhere)) // No webhook runs now.
	desired(t, ns, 3)
	p := start(t)
	patch := func(text string) {
		_, err := trial.Client().AppsV1().DaemonSets(ns).
			Patch(t.Context(), "x", types.StrategicMergePatchType, []byte(text), metav1.PatchOptions{})
		require.NoError(t, err)
	}
	patch(`{"metadata":{"labels":{"team":"shop"}}}`)
	patch(`{"spec":{"minReadySeconds":1}}`)
	desired(t, ns, 3)
	reviews := func() float64 {
		return p.metric(t, "spillway_admission_webhook_requests_total", "mutate-daemonsets")
	}
	assert.Zero(t, reviews(), "a label recreates no Pods")
	patch(`{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"web:2"}]}}}}`)
	desired(t, ns, 2)
	before := reviews() // More than one if the patch met a conflict.
	assert.Positive(t, before)
	patch(`{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"web:3"}]}}}}`)
	desired(t, ns, 2)
	assert.InDelta(t, before, reviews(), 0, "a DaemonSet that has the affinity is not reviewed")
}

// A Pod that tolerates every taint needs no toleration: only node affinity keeps it on local nodes if it may not burst.
func TestPodsThatTolerateEverythingStayLocalIfTheyMayNotBurst(t *testing.T) {
	setSwitch(t, "true")
	p := start(t)
	turn := func(value string) {
		write(t, trial.Client().CoreV1().ConfigMaps(policy.SwitchConfigMapNamespace), value)
		eventually(t, func() error { // An unmanaged Pod shows which switch the webhook knows.
			prepared, err := dryRun(t, tolerant("probe"))
			if err == nil && (outlineOf(prepared).NodeType == corev1.NodeSelectorOpNotIn) != (value == "false") {
				err = errors.New("the webhook does not know the switch yet")
			}
			return err
		})
	}
	ns := namespace(t, nil)

	turn("false")
	create(t, ns, tolerant("off"))
	unschedulable(t, ns, "off")
	assert.Equal(t, outline{Tolerates: true, NodeType: corev1.NodeSelectorOpNotIn}, outlineOf(get(t, ns, "off")))
	assert.Contains(t, eventOf(t, ns, "off", "SwitchOff").Message, "even then, its node affinity keeps it on local nodes")

	turn("true")
	assert.Contains(t, eventOf(t, ns, "off", "KeptLocal").Message, "delete the Pod so that it is recreated")
	create(t, ns, tolerant("on"))
	assert.Equal(t, virtualNode, onNode(t, ns, "on"))
	assert.Equal(t, outline{Tolerates: true}, outlineOf(get(t, ns, "on")), "a Pod that may burst stays unchanged")
	host := tolerant("host")
	host.Spec.HostNetwork = true
	create(t, ns, host)
	unschedulable(t, ns, "host")
	assert.Equal(t, corev1.NodeSelectorOpNotIn, outlineOf(get(t, ns, "host")).NodeType)
	eventOf(t, ns, "host", "HostNamespace")
	assert.Zero(t, p.metric(t, "spillway_admission_webhook_requests_total", "failed"))
}

// tolerant returns an unmanaged Pod that fits on a virtual node only and tolerates every taint.
func tolerant(name string) *corev1.Pod {
	pod := big(name)
	pod.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	return pod
}

// Such Pods would never start on a virtual node. They stay on local nodes, and their owner needs no change.
func TestPodsInKubeSystemThatTolerateEverythingStayLocal(t *testing.T) {
	p := start(t)
	reviews := func() float64 { return p.metric(t, "spillway_admission_webhook_requests_total", "mutate-pods") }
	apps := trial.Client().AppsV1().Deployments(metav1.NamespaceSystem)
	t.Cleanup(func() {
		assert.NoError(t, apps.Delete(context.Background(), "x", metav1.DeleteOptions{}))
		now := metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}
		assert.NoError(t, trial.Client().CoreV1().Pods(metav1.NamespaceSystem).
			DeleteCollection(context.Background(), now, metav1.ListOptions{LabelSelector: "app=x"}))
	})
	before := reviews()
	// A Pod that tolerates nothing is not reviewed.
	apply(t, metav1.NamespaceSystem, strings.Replace(deployment("", ""), "image: web", "image: plain", 1))
	of := func(image string) (found *corev1.Pod) {
		eventually(t, func() error {
			list, err := podsOfX(t, metav1.NamespaceSystem)
			for i := range list.Items {
				if list.Items[i].Spec.Containers[0].Image == image {
					found = &list.Items[i]
					return nil
				}
			}
			return errors.Join(err, fmt.Errorf("there is no Pod with the image %s", image))
		})
		return found
	}
	assert.Equal(t, untouched, outlineOf(of("plain")))
	assert.InDelta(t, before, reviews(), 0)

	patch := []byte(`{"spec":{"template":{"spec":{"tolerations":[{"operator":"Exists"}],` +
		`"containers":[{"name":"c","image":"tolerant","resources":{"requests":{"cpu":"8"}}}]}}}}`)
	_, err := apps.Patch(t.Context(), "x", types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	require.NoError(t, err)
	pod := of("tolerant")
	assert.Equal(t, outline{Tolerates: true, NodeType: corev1.NodeSelectorOpNotIn}, outlineOf(pod))
	unschedulable(t, metav1.NamespaceSystem, pod.Name)
	event := eventOf(t, metav1.NamespaceSystem, pod.Name, "ProtectedNamespace")
	assert.Contains(t, event.Message, "Pods of namespace kube-system run on local nodes only")
}

// podsOfX lists the Pods of the workload x.
func podsOfX(t *testing.T, namespace string) (*corev1.PodList, error) {
	t.Helper()
	return trial.Client().CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=x"})
}
