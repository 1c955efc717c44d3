package inheritance

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strconv"
	"sync"
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
	"github.com/spillway-k8s/spillway/internal/evaluation"
	"github.com/spillway-k8s/spillway/policy"
)

// owners is a fake: all Pods have one workload.
type owners struct {
	mu          sync.Mutex
	annotations map[string]string
	err         error
	changed     func(namespace string)
	stopped     bool
}

func (o *owners) Workload(context.Context, *corev1.Pod) (evaluation.Workload, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return evaluation.Workload{Annotations: o.annotations}, o.err
}

func (o *owners) CachedWorkload(pod *corev1.Pod) evaluation.Workload {
	w, _ := o.Workload(context.Background(), pod)
	return w
}

func (o *owners) OnChange(changed func(string)) (stop func() error, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.changed = changed
	return func() error {
		o.stopped = true
		return nil
	}, nil
}

// set changes the workload and reports it.
func (o *owners) set(annotations map[string]string) {
	o.mu.Lock()
	o.annotations = annotations
	changed := o.changed
	o.mu.Unlock()
	changed("shop")
}

func controller(t *testing.T, o *owners, pods ...*corev1.Pod) (*fake.Clientset, *Controller) {
	t.Helper()
	client, cached := podcachetest.Pods(t, pods...)
	registry := prometheus.NewRegistry()
	failures, err := reconciler.NewFailures(registry)
	require.NoError(t, err)
	c, err := New(Config{
		Client: client, Pods: cached, Owners: o, Resync: time.Hour, Failures: failures,
		Logger: slog.New(slog.DiscardHandler),
	}, registry)
	require.NoError(t, err)
	return client, c
}

func annotated(annotations map[string]string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Annotations = annotations }
}

func annotationsOf(t *testing.T, client *fake.Clientset, name string) map[string]string {
	t.Helper()
	pod, err := client.CoreV1().Pods("shop").Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	return pod.Annotations
}

func TestReconcile(t *testing.T) {
	type annotations = map[string]string
	copied := func(value string) annotations {
		return annotations{
			policy.LocalReplicasAnnotation: value, policy.InheritedAnnotation: policy.LocalReplicasAnnotation,
		}
	}
	for name, test := range map[string]struct {
		workload annotations
		pod      *corev1.Pod
		want     annotations
	}{
		"a Pod without copies gets them": {
			annotations{policy.LocalReplicasAnnotation: "2"}, podcachetest.RunningPod("local-1"), copied("2"),
		},
		"the copies of a Pod in the cloud follow": {
			annotations{policy.LocalReplicasAnnotation: "30%"},
			podcachetest.RunningPod(podcachetest.VirtualNode, annotated(copied("2"))), copied("30%"),
		},
		"so do those of a Pod that waits": {
			annotations{policy.LocalReplicasAnnotation: "3"}, podcachetest.WaitingPod(annotated(copied("2"))),
			copied("3"),
		},
		"what is removed from the workload is removed from the Pod": {
			annotations{}, podcachetest.RunningPod("local-1", annotated(copied("2"))), annotations{},
		},
		"what is the Pod's own stays": {
			annotations{policy.LocalReplicasAnnotation: "3"},
			podcachetest.RunningPod("local-1", annotated(annotations{policy.LocalReplicasAnnotation: "1"})),
			annotations{policy.LocalReplicasAnnotation: "1"},
		},
		"a copy that a user has changed is corrected": {
			annotations{policy.LocalReplicasAnnotation: "2"},
			podcachetest.RunningPod("local-1", annotated(copied("9"))), copied("2"),
		},
		"a Pod that has ended stays": {
			annotations{policy.LocalReplicasAnnotation: "3"},
			podcachetest.RunningPod("local-1", annotated(copied("2")), func(pod *corev1.Pod) {
				pod.Status.Phase = corev1.PodSucceeded
			}), copied("2"),
		},
		"a Pod of a DaemonSet stays": {
			annotations{policy.LocalReplicasAnnotation: "3"},
			podcachetest.RunningPod("local-1", func(pod *corev1.Pod) {
				pod.OwnerReferences[0].Kind = "DaemonSet"
			}), nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			client, c := controller(t, &owners{annotations: test.workload}, test.pod)
			differs := c.differs(c.Pods.Get(podcachetest.Web))
			require.NoError(t, c.reconcile(t.Context(), podcachetest.Web, nil))
			got := annotationsOf(t, client, "web")
			assert.Equal(t, len(test.want), len(got))
			for key, value := range test.want {
				assert.Equal(t, value, got[key], key)
			}
			changed := testutil.ToFloat64(c.updated) == 1
			assert.Equal(t, changed, differs, "what the caches know is enough to find the Pod")

			podcachetest.Eventually(t, func() bool { return !c.differs(c.Pods.Get(podcachetest.Web)) },
				"the cache follows")
			client.ClearActions()
			require.NoError(t, c.reconcile(t.Context(), podcachetest.Web, nil))
			assert.Empty(t, client.Actions(), "nothing is sent when nothing differs")
		})
	}
}

func TestAPatchNamesTheVersionOfThePod(t *testing.T) {
	o := &owners{annotations: map[string]string{policy.WayHomeAnnotation: "true"}}
	client, c := controller(t, o, podcachetest.RunningPod("local-1"))
	client.PrependReactor("patch", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		var patch struct{ Metadata metav1.ObjectMeta }
		require.NoError(t, json.Unmarshal(action.(clienttesting.PatchAction).GetPatch(), &patch))
		assert.EqualValues(t, "u1", patch.Metadata.UID)
		assert.Equal(t, "7", patch.Metadata.ResourceVersion)
		return true, nil, apierrors.NewConflict(corev1.Resource("pods"), "web", errors.New("changed"))
	})
	err := c.reconcile(t.Context(), podcachetest.Web, nil)
	require.True(t, apierrors.IsConflict(err), err)
	assert.Zero(t, testutil.ToFloat64(c.updated))
}

func TestNothingIsChangedIfTheWorkloadIsNotKnown(t *testing.T) {
	o := &owners{err: errors.New("connection refused")}
	client, c := controller(t, o, podcachetest.RunningPod("local-1"))
	client.ClearActions()
	require.ErrorContains(t, c.reconcile(t.Context(), podcachetest.Web, nil), "connection refused")
	assert.Empty(t, client.Actions())
	require.NoError(t, c.reconcile(t.Context(), cache.NewObjectName("shop", "gone"), nil))
}

// The Pods exist when the controller starts, and the workload changes later, twice.
func TestAllPodsOfANamespaceFollowTheirWorkload(t *testing.T) {
	var pods []*corev1.Pod
	for i := range 50 {
		pods = append(pods, podcachetest.RunningPod("local-1", func(pod *corev1.Pod) {
			pod.Name = "web-" + strconv.Itoa(i)
		}))
	}
	o := &owners{annotations: map[string]string{policy.LocalReplicasAnnotation: "1"}}
	client, c := controller(t, o, pods...)
	stop := podcachetest.Run(t, c.Run)
	all := func(value string) func() bool {
		return func() bool {
			for i := range 50 {
				if annotationsOf(t, client, "web-"+strconv.Itoa(i))[policy.LocalReplicasAnnotation] != value {
					return false
				}
			}
			return true
		}
	}
	podcachetest.Eventually(t, all("1"), "the backlog is brought up to date")
	o.set(map[string]string{policy.LocalReplicasAnnotation: "50%"})
	podcachetest.Eventually(t, all("50%"), "every Pod follows")
	o.set(map[string]string{})
	podcachetest.Eventually(t, all(""), "every Pod follows")
	stop()
	assert.True(t, o.stopped)
}
