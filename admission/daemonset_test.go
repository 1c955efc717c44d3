package main

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

const everywhere = "selector: {matchLabels: {app: x}}, template: {metadata: {labels: {app: x}}, spec: {tolerations: [{operator: Exists}], containers: [{name: c, image: web}]}}"

// desired waits for the DaemonSet's controller to want that many Pods of what the DaemonSet is now.
func desired(t *testing.T, ns string, count int32) {
	t.Helper()
	eventually(t, func() error {
		set, err := trial.Client().AppsV1().DaemonSets(ns).Get(t.Context(), "x", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if set.Status.ObservedGeneration != set.Generation {
			return errors.New("its controller has not seen it yet")
		}
		if got := set.Status.DesiredNumberScheduled; got != count {
			return fmt.Errorf("%d Pods are desired instead of %d", got, count)
		}
		return nil
	})
}

// There are two local nodes and a virtual one. kube-system is where such DaemonSets live.
func TestADaemonSetThatToleratesEverythingWantsLocalNodesOnly(t *testing.T) {
	start(t)
	for name, ns := range map[string]string{"any namespace": namespace(t, nil), "kube-system": metav1.NamespaceSystem} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() {
				assert.NoError(t, trial.Client().AppsV1().DaemonSets(ns).Delete(context.Background(), "x", metav1.DeleteOptions{}))
			})
			apply(t, ns, manifest("apps/v1", "DaemonSet", "", everywhere))
			desired(t, ns, 2)
			eventually(t, func() error {
				list, err := trial.Client().CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "app=x"})
				if err == nil && len(list.Items) != 2 {
					err = fmt.Errorf("%d Pods instead of 2", len(list.Items))
				}
				return err
			})
		})
	}
}

func TestADaemonSetFromAnOutageIsPutRightWhenItsTemplateChanges(t *testing.T) {
	ns := namespace(t, nil)
	apply(t, ns, manifest("apps/v1", "DaemonSet", "", everywhere)) // Nobody is asked.
	desired(t, ns, 3)
	p := start(t)
	patch := func(text string) {
		_, err := trial.Client().AppsV1().DaemonSets(ns).Patch(t.Context(), "x", types.StrategicMergePatchType, []byte(text), metav1.PatchOptions{})
		require.NoError(t, err)
	}
	patch(`{"metadata":{"labels":{"team":"shop"}}}`)
	patch(`{"spec":{"minReadySeconds":1}}`)
	desired(t, ns, 3)
	assert.Zero(t, p.metric(t, "spillway_admission_webhook_requests_total", "mutate-daemonsets"), "no Pod is made anew for a label")
	patch(`{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"web:2"}]}}}}`)
	desired(t, ns, 2)
	asked := p.metric(t, "spillway_admission_webhook_requests_total", "mutate-daemonsets") // More than once where the patch met a conflict.
	assert.Positive(t, asked)
	patch(`{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"web:3"}]}}}}`)
	desired(t, ns, 2)
	assert.InDelta(t, asked, p.metric(t, "spillway_admission_webhook_requests_total", "mutate-daemonsets"), 0, "one that is kept home already is not asked about")
}

// Who tolerates every taint needs no toleration of ours: only affinity keeps it home where it may not burst.
func TestPodsThatTolerateEverythingStayHomeWhereTheyMayNotBurst(t *testing.T) {
	setSwitch(t, "true")
	p := start(t)
	turn := func(value string) {
		write(t, trial.Client().CoreV1().ConfigMaps(policy.SwitchConfigMapNamespace), value)
		eventually(t, func() error { // A Pod that nobody asked about says what the webhook knows.
			probe := tolerant("probe")
			made, err := trial.Client().CoreV1().Pods(metav1.NamespaceDefault).Create(t.Context(), probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			if err == nil && (outlineOf(made).NodeType == corev1.NodeSelectorOpNotIn) != (value == "false") {
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
	assert.Contains(t, told(t, ns, "off", "SwitchOff").Message, "and then its node affinity keeps it at home")

	turn("true")
	assert.Contains(t, told(t, ns, "off", "KeptLocal").Message, "delete it to have it made again")
	create(t, ns, tolerant("on"))
	assert.Equal(t, virtualNode, onNode(t, ns, "on"))
	assert.Equal(t, outline{Tolerates: true}, outlineOf(get(t, ns, "on")), "one that may burst is left as it is")
	host := tolerant("host")
	host.Spec.HostNetwork = true
	create(t, ns, host)
	unschedulable(t, ns, "host")
	assert.Equal(t, corev1.NodeSelectorOpNotIn, outlineOf(get(t, ns, "host")).NodeType)
	told(t, ns, "host", "HostNamespace")
	assert.Zero(t, p.metric(t, "spillway_admission_webhook_requests_total", "failed"))
}

// tolerant is a Pod without a key that fits a virtual node only and tolerates every taint.
func tolerant(name string) *corev1.Pod {
	pod := big(name)
	pod.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	return pod
}

// What would lie on a virtual node for ever stays at home, and its owner edits nothing.
func TestPodsOfKubeSystemThatTolerateEverythingStayHome(t *testing.T) {
	p := start(t)
	asked := func() float64 { return p.metric(t, "spillway_admission_webhook_requests_total", "mutate-pods") }
	apps := trial.Client().AppsV1().Deployments(metav1.NamespaceSystem)
	t.Cleanup(func() {
		assert.NoError(t, apps.Delete(context.Background(), "x", metav1.DeleteOptions{}))
		now := metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}
		assert.NoError(t, trial.Client().CoreV1().Pods(metav1.NamespaceSystem).DeleteCollection(context.Background(), now, metav1.ListOptions{LabelSelector: "app=x"}))
	})
	before := asked()
	apply(t, metav1.NamespaceSystem, strings.Replace(deployment("", ""), "image: web", "image: plain", 1)) // One that tolerates nothing is not asked about.
	of := func(image string) (found *corev1.Pod) {
		eventually(t, func() error {
			list, err := trial.Client().CoreV1().Pods(metav1.NamespaceSystem).List(t.Context(), metav1.ListOptions{LabelSelector: "app=x"})
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
	assert.InDelta(t, before, asked(), 0)

	_, err := apps.Patch(t.Context(), "x", types.StrategicMergePatchType, []byte(`{"spec":{"template":{"spec":{"tolerations":[{"operator":"Exists"}],`+
		`"containers":[{"name":"c","image":"tolerant","resources":{"requests":{"cpu":"8"}}}]}}}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	pod := of("tolerant")
	assert.Equal(t, outline{Tolerates: true, NodeType: corev1.NodeSelectorOpNotIn}, outlineOf(pod))
	unschedulable(t, metav1.NamespaceSystem, pod.Name)
	assert.Contains(t, told(t, metav1.NamespaceSystem, pod.Name, "ProtectedNamespace").Message, "Pods of namespace kube-system run on local nodes only")
}
