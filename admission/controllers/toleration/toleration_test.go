package toleration

import (
	"encoding/json"
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
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/spillway-k8s/spillway/admission/controllers/podcachetest"
	"github.com/spillway-k8s/spillway/admission/controllers/podevents"
	"github.com/spillway-k8s/spillway/admission/controllers/reconciler"
	"github.com/spillway-k8s/spillway/internal/evaluation"
	"github.com/spillway-k8s/spillway/internal/schedulers"
	"github.com/spillway-k8s/spillway/policy"
)

// now is the time of the clock.
var now = time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC)

var (
	mayBurst = evaluation.Result{Decision: policy.Decision{
		Placement: policy.PlacementLocalFirst, Reason: policy.ReasonSwitchOn,
	}}
	mayNotBurst = evaluation.Result{Decision: policy.Decision{
		Placement: policy.PlacementLocalOnly, Reason: policy.ReasonSwitchOff,
	}}
)

func controller(t *testing.T, evaluator Evaluator, pods ...*corev1.Pod) (*fake.Clientset, *Controller) {
	t.Helper()
	client, cached := podcachetest.Pods(t, pods...)
	registry := prometheus.NewRegistry()
	failures, err := reconciler.NewFailures(registry)
	require.NoError(t, err)
	c, err := New(Config{
		Client: client, Pods: cached, Evaluator: evaluator, Owners: podcachetest.Owners{},
		Schedulers: schedulers.Schedulers{Assigned: "bursting", EveryPod: true},
		Events:     podevents.NewRecorder(client, time.Now), Resync: time.Hour, Trigger: reconciler.NewTrigger(),
		Failures: failures, Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
	}, registry)
	require.NoError(t, err)
	return client, c
}

func read(t *testing.T, client *fake.Clientset) *corev1.Pod {
	t.Helper()
	pod, err := client.CoreV1().Pods("shop").Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	return pod
}

func reasons(t *testing.T, client *fake.Clientset) []string {
	t.Helper()
	list, err := client.CoreV1().Events("shop").List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	var found []string
	for _, event := range list.Items {
		found = append(found, event.Reason)
	}
	return found
}

func TestReconcile(t *testing.T) {
	managed := mayBurst
	managed.Managed = true
	limited := managed
	limited.Limited = true
	waits, floored, capped := mayBurst, managed, managed
	waits.BurstAfter = 90 * time.Second
	floored.Shares.LocalMin = policy.Amount{Set: true, Value: 1}
	capped.Shares.CloudMax = policy.Amount{Set: true, Value: 50, Percent: true}
	created := func(ago time.Duration) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.CreationTimestamp = metav1.NewTime(now.Add(-ago)) }
	}
	requested := func(pod *corev1.Pod) {
		pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{
			policy.PlacementResource: resource.MustParse("1"),
		}
	}
	of := func(scheduler string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Spec.SchedulerName = scheduler }
	}
	for name, test := range map[string]struct {
		result  evaluation.Result
		pod     *corev1.Pod
		added   bool
		again   time.Duration
		reasons []string
	}{
		"a Pod that waits for room gets the toleration later": {
			result: waits, pod: podcachetest.WaitingPod(created(20 * time.Second)), again: 70 * time.Second,
		},
		"at its deadline it gets the toleration": {
			result: waits, pod: podcachetest.WaitingPod(created(90 * time.Second)), added: true,
			reasons: []string{"BurstAllowed"},
		},
		"a Pod that the extender makes wait gets it at once": {
			result: waits, pod: podcachetest.WaitingPod(requested, created(0)), added: true,
			reasons: []string{"BurstAllowed"},
		},
		"a Pod with a minimum of local replicas needs the extender": {
			result: floored, pod: podcachetest.WaitingPod(),
		},
		"so does one with a maximum in the cloud": {result: capped, pod: podcachetest.WaitingPod()},
		"with the extender it gets the toleration": {
			result: capped, pod: podcachetest.WaitingPod(requested), added: true, reasons: []string{"BurstAllowed"},
		},
		"a waiting Pod that may burst gets the toleration": {
			result: mayBurst, pod: podcachetest.WaitingPod(), added: true, reasons: []string{"BurstAllowed"},
		},
		"a managed Pod that the webhook has prepared gets one Event": {
			result: managed, pod: podcachetest.WaitingPod(requested), added: true, reasons: []string{"BurstAllowed"},
		},
		"a managed Pod that the webhook has missed gets a second Event": {
			result: managed, pod: podcachetest.WaitingPod(), added: true,
			reasons: []string{"BurstAllowed", "WebhookMissed"},
		},
		"a Pod in a namespace with limits that requests the extender gets the toleration": {
			result: limited, pod: podcachetest.WaitingPod(requested), added: true, reasons: []string{"BurstAllowed"},
		},
		"a Pod in a namespace with limits that does not request the extender stays unchanged": {
			result: limited, pod: podcachetest.WaitingPod(),
		},
		"a managed Pod of a scheduler that calls the extender for every Pod gets one Event": {
			result: managed,
			pod:    podcachetest.WaitingPod(of("bursting")), added: true, reasons: []string{"BurstAllowed"},
		},
		"so does one in a namespace with limits": {
			result: limited,
			pod:    podcachetest.WaitingPod(of("bursting")), added: true, reasons: []string{"BurstAllowed"},
		},
		"a managed Pod of another scheduler gets an Event that says so": {
			result: managed, pod: podcachetest.WaitingPod(of("volcano")), added: true,
			reasons: []string{"BurstAllowed", "OtherScheduler"},
		},
		"an unmanaged Pod of another scheduler gets one Event": {
			result: mayBurst,
			pod:    podcachetest.WaitingPod(of("volcano")), added: true, reasons: []string{"BurstAllowed"},
		},
		"a Pod of another scheduler in a namespace with limits stays unchanged": {
			result: limited, pod: podcachetest.WaitingPod(of("volcano")),
		},
		"a waiting Pod that may not burst stays unchanged": {result: mayNotBurst, pod: podcachetest.WaitingPod()},
		"a Pod with a node stays unchanged":                {result: mayBurst, pod: podcachetest.RunningPod("local-1")},
		"a Pod for which preemption makes room stays unchanged": {
			result: mayBurst,
			pod:    podcachetest.WaitingPod(func(pod *corev1.Pod) { pod.Status.NominatedNodeName = "local-1" }),
		},
	} {
		t.Run(name, func(t *testing.T) {
			client, c := controller(t, podcachetest.Evaluates(test.result), test.pod)
			again, err := c.reconcile(t.Context(), podcachetest.Web)
			require.NoError(t, err)
			assert.Equal(t, test.again, again)
			assert.Equal(t, test.added, policy.ToleratesProvider(&read(t, client).Spec))
			assert.ElementsMatch(t, test.reasons, reasons(t, client))
			want := 0.0
			if test.added {
				want = 1
			}
			assert.InDelta(t, want, testutil.ToFloat64(c.added.WithLabelValues("SwitchOn")), 0)
		})
	}
}

func TestAPodThatToleratesVirtualNodesIsNotEvaluated(t *testing.T) {
	pod := podcachetest.WaitingPod(func(pod *corev1.Pod) {
		pod.Spec.Tolerations = []corev1.Toleration{policy.ProviderToleration()}
	})
	_, c := controller(t, podcachetest.Evaluator(func(*corev1.Pod) (evaluation.Result, error) {
		t.Error("the Pod is evaluated")
		return evaluation.Result{}, nil
	}), pod)
	_, err := c.reconcile(t.Context(), podcachetest.Web)
	require.NoError(t, err)
}

func TestReconcileReturnsErrorsSoThatThePodIsRetried(t *testing.T) {
	conflict := apierrors.NewConflict(corev1.Resource("pods"), "web", errors.New("changed"))
	notFound := apierrors.NewNotFound(corev1.Resource("pods"), "web")
	for name, test := range map[string]struct {
		evaluation, patch error
		want              string
	}{
		"the evaluation fails": {
			evaluation: errors.New("connection refused"), want: "evaluating the Pod: connection refused",
		},
		"the Pod has changed":            {patch: conflict, want: "adding the toleration of virtual nodes: "},
		"a Pod that is gone is no error": {patch: notFound},
	} {
		t.Run(name, func(t *testing.T) {
			client, c := controller(t, podcachetest.Evaluator(func(*corev1.Pod) (evaluation.Result, error) {
				return mayBurst, test.evaluation
			}), podcachetest.WaitingPod())
			client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
				return test.patch != nil, nil, test.patch
			})
			_, err := c.reconcile(t.Context(), podcachetest.Web)
			if test.want == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, test.want)
			}
			assert.Empty(t, reasons(t, client))
		})
	}
}

func TestReconcileSucceedsIfTheEventCannotBeRecorded(t *testing.T) {
	client, c := controller(t, podcachetest.Evaluates(mayBurst), podcachetest.WaitingPod())
	client.PrependReactor("create", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("connection refused")
	})
	_, err := c.reconcile(t.Context(), podcachetest.Web)
	require.NoError(t, err)
	assert.True(t, policy.ToleratesProvider(&read(t, client).Spec))
}

func TestRunReconcilesPodsThatBeginToWaitAndAllOfThemAfterATrigger(t *testing.T) {
	results := make(chan evaluation.Result, 2)
	results <- mayNotBurst
	evaluated := make(chan struct{}, 2)
	client, c := controller(t, podcachetest.Evaluator(func(*corev1.Pod) (evaluation.Result, error) {
		evaluated <- struct{}{}
		return <-results, nil
	}))
	podcachetest.Run(t, c.Run)
	_, err := client.CoreV1().Pods("shop").Create(t.Context(), podcachetest.WaitingPod(), metav1.CreateOptions{})
	require.NoError(t, err)
	<-evaluated
	results <- mayBurst
	c.Trigger.Fire() // The global switch has turned on.
	<-evaluated
	podcachetest.Eventually(
		t,
		func() bool { return policy.ToleratesProvider(&read(t, client).Spec) },
		"the Pod may burst",
	)
}

func TestThePatchAppliesOnlyToTheEvaluatedVersion(t *testing.T) {
	pod := podcachetest.WaitingPod()
	pod.Spec.Tolerations = []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists}}
	pod.Annotations = map[string]string{policy.KeptLocalAnnotation: "NodeSelector: no virtual node had the label"}
	got, err := tolerationPatch(pod, evaluation.Result{BurstMode: policy.ModeAuto})
	require.NoError(t, err)
	assert.JSONEq(t, `{
		"metadata": {"uid": "u1", "resourceVersion": "7", "labels": {"virtual-kubelet.io/burst-to-cci": "auto"},
			"annotations": {"spillway.io/kept-local": null}},
		"spec": {"tolerations": [
			{"key": "dedicated", "operator": "Exists"},
			{"key": "virtual-kubelet.io/provider", "operator": "Equal", "value": "huawei", "effect": "NoSchedule"}
		]}
	}`, string(got))
	assert.Len(t, pod.Spec.Tolerations, 1, "the cached Pod is not changed")
}

func TestThePatchSetsNoLabel(t *testing.T) {
	for name, test := range map[string]struct {
		labels map[string]string
		mode   policy.Mode
	}{
		"without a mode":            {nil, policy.ModeNone},
		"with a label of the Pod":   {map[string]string{policy.BurstLabel: "auto"}, policy.ModeAuto},
		"with the alias on the Pod": {map[string]string{policy.BurstLabelAlias: "auto"}, policy.ModeAuto},
	} {
		t.Run(name, func(t *testing.T) {
			pod := podcachetest.WaitingPod()
			pod.Labels = test.labels
			got, err := tolerationPatch(pod, evaluation.Result{BurstMode: test.mode})
			require.NoError(t, err)
			var patch struct {
				Metadata map[string]any `json:"metadata"`
			}
			require.NoError(t, json.Unmarshal(got, &patch))
			assert.NotContains(t, patch.Metadata, "labels")
		})
	}
}

func TestMetricsAreRegisteredOnce(t *testing.T) {
	registry := prometheus.NewRegistry()
	failures, err := reconciler.NewFailures(registry)
	require.NoError(t, err)
	_, err = New(Config{Failures: failures}, registry)
	require.NoError(t, err)
	_, err = New(Config{Failures: failures}, registry)
	assert.ErrorContains(t, err, "registering the metrics of controller tolerate")
}
