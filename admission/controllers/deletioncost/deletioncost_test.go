package deletioncost

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/admission/controllers/podcachetest"
	"github.com/spillway-k8s/spillway/admission/controllers/reconciler"
	"github.com/spillway-k8s/spillway/policy"
)

// negative is the cost of the controllers in these tests.
const negative = "-700"

func controller(t *testing.T, pods ...*corev1.Pod) (*fake.Clientset, *Controller) {
	t.Helper()
	client, cached := podcachetest.Pods(t, pods...)
	registry := prometheus.NewRegistry()
	failures, err := reconciler.NewFailures(registry)
	require.NoError(t, err)
	c, err := New(Config{
		Client: client, Pods: cached, Nodes: podcachetest.Nodes(t), Cost: -700, Resync: time.Hour,
		Failures: failures, Logger: slog.New(slog.DiscardHandler),
	}, registry)
	require.NoError(t, err)
	return client, c
}

// cost returns the deletion cost of a Pod in the API.
func cost(t *testing.T, client *fake.Clientset, name string) string {
	t.Helper()
	pod, err := client.CoreV1().Pods("shop").Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	return pod.Annotations[policy.DeletionCostAnnotation]
}

func TestReconcile(t *testing.T) {
	for name, test := range map[string]struct {
		pod     *corev1.Pod
		want    string
		written float64
	}{
		"a cloud Pod gets a cost":        {podcachetest.RunningPod(podcachetest.VirtualNode), negative, 1},
		"a local Pod gets none":          {podcachetest.RunningPod("local-1"), "", 0},
		"a Pod without a node gets none": {podcachetest.WaitingPod(), "", 0},
		"a cost of the user stays": {podcachetest.RunningPod(podcachetest.VirtualNode, func(pod *corev1.Pod) {
			pod.Annotations = map[string]string{policy.DeletionCostAnnotation: "7"}
		}), "7", 0},
		"a cloud Pod of a ReplicationController gets a cost": {
			podcachetest.RunningPod(podcachetest.VirtualNode, func(pod *corev1.Pod) {
				pod.OwnerReferences[0].Kind = "ReplicationController"
			}), negative, 1,
		},
		"a Pod of a StatefulSet gets none": {podcachetest.RunningPod(podcachetest.VirtualNode, func(pod *corev1.Pod) {
			pod.OwnerReferences[0].Kind = "StatefulSet"
		}), "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			client, c := controller(t, test.pod)
			require.NoError(t, c.reconcile(t.Context(), podcachetest.Web))
			assert.Equal(t, test.want, cost(t, client, "web"))
			assert.InDelta(t, test.written, testutil.ToFloat64(c.written), 0)
		})
	}
}

func TestReconcileReturnsErrorsSoThatThePodIsRetried(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"a conflict": {
			apierrors.NewConflict(corev1.Resource("pods"), "web", errors.New("changed")),
			"writing controller.kubernetes.io/pod-deletion-cost: ",
		},
		"a Pod that is gone is no error": {apierrors.NewNotFound(corev1.Resource("pods"), "web"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			client, c := controller(t, podcachetest.RunningPod(podcachetest.VirtualNode))
			client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, test.err
			})
			err := c.reconcile(t.Context(), podcachetest.Web)
			assert.Zero(t, testutil.ToFloat64(c.written))
			if test.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, test.want)
		})
	}
}

func TestTheBacklogHoldsThePodsOnVirtualNodes(t *testing.T) {
	named := func(name string) func(*corev1.Pod) { return func(pod *corev1.Pod) { pod.Name = name } }
	_, c := controller(t,
		podcachetest.RunningPod(podcachetest.VirtualNode, named("cloud")),
		podcachetest.RunningPod("local-1", named("local")),
	)
	assert.Equal(t, []cache.ObjectName{{Namespace: "shop", Name: "cloud"}}, c.backlog())
}

func TestRunReconcilesExistingAndNewPods(t *testing.T) {
	client, c := controller(t, podcachetest.RunningPod(podcachetest.VirtualNode))
	podcachetest.Run(t, c.Run)
	// The API is read, not the counter: until the cache shows the patch, the Pod may be patched again, which the fake
	// accepts and an API server refuses as a conflict.
	has := func(name string) func() bool {
		return func() bool { return cost(t, client, name) == negative }
	}
	podcachetest.Eventually(t, has("web"), "the existing Pod has a cost")
	another := podcachetest.RunningPod(podcachetest.VirtualNode, func(pod *corev1.Pod) {
		pod.Name, pod.UID = "another", "u2"
	})
	_, err := client.CoreV1().Pods("shop").Create(t.Context(), another, metav1.CreateOptions{})
	require.NoError(t, err)
	podcachetest.Eventually(t, has("another"), "the new Pod has a cost")
}

func TestThePatchAppliesOnlyToTheVersionThatWasRead(t *testing.T) {
	got, err := costPatch(podcachetest.WaitingPod(), -700)
	require.NoError(t, err)
	assert.JSONEq(t, `{"metadata": {
		"uid": "u1", "resourceVersion": "7", "annotations": {"controller.kubernetes.io/pod-deletion-cost": "-700"}
	}}`, string(got))
}

func TestMetricsAreRegisteredOnce(t *testing.T) {
	registry := prometheus.NewRegistry()
	failures, err := reconciler.NewFailures(registry)
	require.NoError(t, err)
	_, err = New(Config{Failures: failures}, registry)
	require.NoError(t, err)
	_, err = New(Config{Failures: failures}, registry)
	assert.ErrorContains(t, err, "registering the metrics of controller rank")
}
