package explanation

import (
	"context"
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

var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// result returns a Result with a reason and the message "the reason".
func result(
	placement policy.Placement, reason policy.Reason, changes ...func(*evaluation.Result),
) evaluation.Result {
	r := evaluation.Result{Decision: policy.Decision{Placement: placement, Reason: reason, Message: "the reason"}}
	for _, change := range changes {
		change(&r)
	}
	return r
}

func managed(r *evaluation.Result) { r.Managed = true }

func limited(r *evaluation.Result) { r.Limited = true }

func waits(r *evaluation.Result) { r.BurstAfter = 90 * time.Second }

func floored(r *evaluation.Result) { r.Shares.LocalMin = policy.Amount{Set: true, Value: 1} }

func created(ago time.Duration) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.CreationTimestamp = metav1.NewTime(now.Add(-ago)) }
}

func off(r *evaluation.Result) { r.Off = true }

func withError(r *evaluation.Result) { r.Errors = []error{errors.New("LOCAL_REPLICAS: invalid value")} }

func withQuota(quota int) func(*evaluation.Result) {
	return func(r *evaluation.Result) { r.Shares.LocalReplicas = policy.Amount{Set: true, Value: quota} }
}

func tolerating(pod *corev1.Pod) {
	pod.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
}

// avoiding adds the node affinity with which the webhook keeps a Pod on local nodes.
func avoiding(pod *corev1.Pod) {
	pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
				{
					Key:      policy.NodeTypeLabel,
					Operator: corev1.NodeSelectorOpNotIn,
					Values:   []string{policy.NodeTypeVirtual},
				},
			}}},
		},
	}}
}

func malformed(pod *corev1.Pod) {
	pod.Annotations = map[string]string{policy.LocalReplicasAnnotation: "x"}
}

func quota(pod *corev1.Pod) { pod.Annotations = map[string]string{policy.LocalReplicasAnnotation: "1"} }

// marked lets the scheduler call the extender for the Pod.
func marked(pod *corev1.Pod) {
	pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{policy.PlacementResource: resource.MustParse("1")}
}

func refused(message string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Status.Conditions[0].Message = "0/4 nodes are available: " + message }
}

func grouped(pod *corev1.Pod) {
	quota(pod)
	pod.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: new("train")}
}

func named(name string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Name, pod.UID = name, "" }
}

func controller(
	t *testing.T, evaluator Evaluator, owners Owners, pods ...*corev1.Pod,
) (*fake.Clientset, *Controller) {
	t.Helper()
	client, cached := podcachetest.Pods(t, pods...)
	registry := prometheus.NewRegistry()
	failures, err := reconciler.NewFailures(registry)
	require.NoError(t, err)
	clock := func() time.Time { return now }
	c, err := New(Config{
		Client: client, Pods: cached, Nodes: podcachetest.Nodes(t), Evaluator: evaluator, Owners: owners,
		Events: podevents.NewRecorder(client, clock), Resync: time.Hour, Trigger: reconciler.NewTrigger(),
		Failures: failures, Now: clock, Logger: slog.New(slog.DiscardHandler),
	}, registry)
	require.NoError(t, err)
	return client, c
}

func events(t *testing.T, client *fake.Clientset) map[string]corev1.Event {
	t.Helper()
	list, err := client.CoreV1().Events("shop").List(context.Background(), metav1.ListOptions{})
	require.NoError(t, err)
	found := map[string]corev1.Event{}
	for _, event := range list.Items {
		found[event.Reason] = event
	}
	return found
}

func TestReconcile(t *testing.T) {
	const local, first = policy.PlacementLocalOnly, policy.PlacementLocalFirst
	type event struct{ reason, kind, message string }
	for name, test := range map[string]struct {
		result evaluation.Result
		pod    *corev1.Pod
		others []*corev1.Pod
		owners podcachetest.Owners
		want   []event
	}{
		"a Pod that waits for room": {
			result: result(first, policy.ReasonSwitchOn, waits),
			pod:    podcachetest.WaitingPod(created(89 * time.Second)),
			want: []event{{"BurstAfter", corev1.EventTypeNormal, "until " +
				now.Add(time.Second).UTC().Format(time.RFC3339)}},
		},
		"a Pod that has waited for room": {
			result: result(first, policy.ReasonSwitchOn, waits),
			pod:    podcachetest.WaitingPod(created(90 * time.Second)),
		},
		"a Pod that the extender makes wait for room": {
			result: result(first, policy.ReasonSwitchOn, waits),
			pod:    podcachetest.WaitingPod(created(0), marked),
		},
		"a Pod with a minimum of local replicas that has no extender": {
			result: result(first, policy.ReasonSwitchOn, managed, floored), pod: podcachetest.WaitingPod(),
			want: []event{{"NotCounted", corev1.EventTypeWarning, "the extender is not called for this Pod"}},
		},
		"one whose scheduler has none": {
			result: result(first, policy.ReasonSwitchOn, managed, floored),
			pod:    podcachetest.WaitingPod(func(pod *corev1.Pod) { pod.Spec.SchedulerName = "volcano" }),
			want:   []event{{"OtherScheduler", corev1.EventTypeWarning, "nothing counts the Pod for"}},
		},
		"a waiting Pod that may not burst now": {
			result: result(local, policy.ReasonSwitchOff), pod: podcachetest.WaitingPod(),
			want: []event{
				{"SwitchOff", "Normal", "the reason"},
			},
		},
		"a managed Pod that the cloud cannot run": {
			result: result(local, policy.ReasonHostPath, managed), pod: podcachetest.WaitingPod(),
			want: []event{{"HostPath", "Warning", "the reason"}},
		},
		"an unmanaged Pod that the cloud cannot run": {
			result: result(local, policy.ReasonHostPath), pod: podcachetest.WaitingPod(),
			want: []event{{"HostPath", "Normal", "the reason"}},
		},
		"a Pod that is off": {
			result: result(local, policy.ReasonLabelOff, managed, off), pod: podcachetest.WaitingPod(),
			want: []event{{"LabelOff", "Normal", "the reason"}},
		},
		"a Pod that the webhook keeps on local nodes, while the switch is off": {
			result: result(local, policy.ReasonSwitchOff), pod: podcachetest.WaitingPod(tolerating, avoiding),
			want: []event{{"SwitchOff", "Normal", "the reason; even then, its node affinity keeps it on local nodes"}},
		},
		"a Pod that the webhook keeps on local nodes, after the switch has turned on": {
			result: result(first, policy.ReasonSwitchOn), pod: podcachetest.WaitingPod(tolerating, avoiding),
			want: []event{{"KeptLocal", "Normal", policy.KeptLocal().Sentence}},
		},
		"a Pod that is about to get the toleration": {
			result: result(first, policy.ReasonSwitchOn), pod: podcachetest.WaitingPod(),
		},
		"a Pod in a namespace with limits that does not request the extender": {
			result: result(first, policy.ReasonSwitchOn, limited), pod: podcachetest.WaitingPod(),
			want: []event{{"NotCounted", "Warning", policy.NotCounted(policy.NeverCounted).Sentence}},
		},
		"a Pod of another scheduler in a namespace with limits": {
			result: result(first, policy.ReasonSwitchOn, limited),
			pod:    podcachetest.WaitingPod(func(pod *corev1.Pod) { pod.Spec.SchedulerName = "volcano" }),
			want: []event{
				{"OtherScheduler", "Warning", schedulers.OtherScheduler("volcano", false, true).Sentence},
			},
		},
		"a Pod that waits for any node": {
			result: result(first, policy.ReasonSwitchOn), pod: podcachetest.WaitingPod(tolerating),
		},
		"a Pod whose quota is used up": {
			result: result(first, policy.ReasonSwitchOn, managed, withQuota(1)),
			pod:    podcachetest.WaitingPod(tolerating, quota),
			others: []*corev1.Pod{podcachetest.RunningPod("local-1", quota, named("local"))},
			want: []event{
				{"LocalQuotaReached", "Normal", policy.LocalQuotaReached(policy.Shares{}, policy.FilteredOut).Sentence},
			},
		},
		"a Pod whose quota is used up, and that waits for the limits of its namespace": {
			result: result(first, policy.ReasonSwitchOn, managed, limited, withQuota(1)),
			pod: podcachetest.WaitingPod(tolerating, quota, marked,
				refused(policy.RefusalPrefix+string(policy.ReasonCloudLimits)+": no room")),
			others: []*corev1.Pod{podcachetest.RunningPod("local-1", quota, named("local"))},
		},
		"a Pod whose quota is not used up, because a replica in the cloud does not count": {
			result: result(first, policy.ReasonSwitchOn, managed, withQuota(1)),
			pod:    podcachetest.WaitingPod(tolerating, quota),
			others: []*corev1.Pod{podcachetest.RunningPod(podcachetest.VirtualNode, quota, named("cloud"))},
		},
		"a waiting Pod whose malformed key counts as off gets one Event only": {
			result: result(local, policy.ReasonInvalid, managed, off, withError),
			pod:    podcachetest.WaitingPod(malformed),
			want: []event{
				{"InvalidPolicy", "Warning", "invalid value; until this is corrected, the Pod is treated as off"},
			},
		},
		"a waiting Pod whose malformed key is ignored gets both Events": {
			result: result(local, policy.ReasonHostPath, managed, withError), pod: podcachetest.WaitingPod(malformed),
			want: []event{
				{"InvalidPolicy", "Warning", "this is ignored, because it does not affect where the Pod runs"},
				{"HostPath", "Warning", "the reason"},
			},
		},
		"a running Pod with a malformed key": {
			result: result(local, policy.ReasonInvalid, managed, off, withError),
			pod:    podcachetest.RunningPod("local-1", malformed),
			want:   []event{{"InvalidPolicy", "Warning", "invalid value"}},
		},
		"a Pod in the cloud whose key is malformed later": {
			result: result(local, policy.ReasonInvalid, managed, off, withError),
			pod:    podcachetest.RunningPod(podcachetest.VirtualNode, malformed),
			want:   []event{{"InvalidPolicy", "Warning", "invalid value; the Pod stays in the cloud"}},
		},
		"a running Pod that inherits a malformed key": {
			result: result(local, policy.ReasonInvalid, managed, off, withError),
			pod:    podcachetest.RunningPod("local-1"),
			owners: podcachetest.Owners{Malformed: true},
			want:   []event{{"InvalidPolicy", "Warning", "invalid value"}},
		},
		"any other running Pod": {
			result: result(local, policy.ReasonSwitchOff), pod: podcachetest.RunningPod("local-1"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			pods := append([]*corev1.Pod{test.pod}, test.others...)
			client, c := controller(t, podcachetest.Evaluates(test.result), test.owners, pods...)
			for range 2 {
				require.NoError(t, c.reconcile(t.Context(), podcachetest.Web), "again, without another Event")
			}
			got := events(t, client)
			require.Len(t, got, len(test.want))
			for _, want := range test.want {
				assert.Equal(t, want.kind, got[want.reason].Type)
				assert.Contains(t, got[want.reason].Message, want.message)
				assert.InDelta(t, 1, testutil.ToFloat64(c.explained.WithLabelValues(want.reason)), 0)
			}
		})
	}
}

func TestReconcileReturnsTheErrorOfTheEvaluation(t *testing.T) {
	_, c := controller(t, podcachetest.Evaluator(func(*corev1.Pod) (evaluation.Result, error) {
		return evaluation.Result{}, errors.New("connection refused")
	}), podcachetest.Owners{}, podcachetest.WaitingPod())
	assert.EqualError(t, c.reconcile(t.Context(), podcachetest.Web), "evaluating the Pod: connection refused")
}

func TestTheConditionAboutTheQuotaOfAGroup(t *testing.T) {
	kept := result(policy.PlacementLocalFirst, policy.ReasonSwitchOn)
	notKept := result(policy.PlacementLocalOnly, policy.ReasonSchedulingGroup)
	condition := func(message string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{
				Type: policy.LocalReplicasCondition, Status: corev1.ConditionFalse, Message: message,
			})
		}
	}
	running := func(changes ...func(*corev1.Pod)) *corev1.Pod {
		return podcachetest.RunningPod("local-1", append([]func(*corev1.Pod){grouped}, changes...)...)
	}
	for name, test := range map[string]struct {
		result  evaluation.Result
		pod     *corev1.Pod
		want    string
		patches int
	}{
		"it is set on a waiting Pod":         {notKept, podcachetest.WaitingPod(grouped), "the reason", 1},
		"it is set on a running Pod":         {notKept, podcachetest.RunningPod("local-1", grouped), "the reason", 1},
		"it is updated":                      {notKept, running(condition("old")), "the reason", 1},
		"it stays":                           {notKept, running(condition("the reason")), "the reason", 0},
		"it is removed":                      {kept, running(condition("old")), "", 1},
		"it is not set if the quota is kept": {kept, podcachetest.RunningPod("local-1", grouped), "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			client, c := controller(t, podcachetest.Evaluates(test.result), podcachetest.Owners{}, test.pod)
			require.NoError(t, c.reconcile(t.Context(), podcachetest.Web))
			pod, err := client.CoreV1().Pods("shop").Get(t.Context(), "web", metav1.GetOptions{})
			require.NoError(t, err)
			got := policy.PodCondition(pod, policy.LocalReplicasCondition)
			if test.want == "" {
				assert.Nil(t, got)
			} else {
				require.NotNil(t, got)
				assert.Equal(t, test.want, got.Message)
				assert.Equal(t, corev1.ConditionFalse, got.Status)
			}
			patches := 0
			for _, action := range client.Actions() {
				if action.Matches("patch", "pods/status") {
					patches++
				}
			}
			assert.Equal(t, test.patches, patches)
		})
	}
}

func TestTheConditionIsDatedAndMergedByItsType(t *testing.T) {
	notKept := result(policy.PlacementLocalOnly, policy.ReasonSchedulingGroup)
	set, err := conditionPatch(podcachetest.WaitingPod(), notKept, true, metav1.NewTime(now))
	require.NoError(t, err)
	assert.JSONEq(t, `{"metadata": {"uid": "u1"}, "status": {"conditions": [{
		"type": "spillway.io/LocalReplicas", "status": "False", "reason": "SchedulingGroup", "message": "the reason",
		"lastTransitionTime": "2026-11-01T12:00:00Z"
	}]}}`, string(set))
	removed, err := conditionPatch(podcachetest.WaitingPod(), evaluation.Result{}, false, metav1.NewTime(now))
	require.NoError(t, err)
	var patch struct {
		Status struct{ Conditions []map[string]any }
	}
	require.NoError(t, json.Unmarshal(removed, &patch))
	assert.Equal(
		t,
		[]map[string]any{{"type": "spillway.io/LocalReplicas", "$patch": "delete"}},
		patch.Status.Conditions,
	)
}

func TestAPodThatIsGoneNeedsNoCondition(t *testing.T) {
	notKept := result(policy.PlacementLocalOnly, policy.ReasonSchedulingGroup)
	pod := podcachetest.RunningPod("local-1", grouped)
	client, c := controller(t, podcachetest.Evaluates(notKept), podcachetest.Owners{}, pod)
	client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewNotFound(corev1.Resource("pods"), "web")
	})
	assert.NoError(t, c.reconcile(t.Context(), podcachetest.Web))
}

// The Pod that waits is explained when another Pod of its revision takes the last slot of the quota.
func TestRunReconcilesWaitingPodsAfterALocalBinding(t *testing.T) {
	other := podcachetest.WaitingPod(named("other"), quota)
	mayBurst := result(policy.PlacementLocalFirst, policy.ReasonSwitchOn, withQuota(1))
	client, c := controller(t, podcachetest.Evaluates(mayBurst), podcachetest.Owners{},
		podcachetest.WaitingPod(tolerating, quota), other)
	podcachetest.Run(t, c.Run)
	bound := podcachetest.RunningPod("local-1", named("other"), quota)
	_, err := client.CoreV1().Pods("shop").Update(t.Context(), bound, metav1.UpdateOptions{})
	require.NoError(t, err)
	podcachetest.Eventually(t, func() bool { return len(events(t, client)) == 1 }, "the waiting Pod gets an Event")
	assert.Contains(t, events(t, client), "LocalQuotaReached")
}

func TestOnlyLocalBindingsOfPodsWithAQuotaAffectOthers(t *testing.T) {
	_, c := controller(t, podcachetest.Evaluates(evaluation.Result{}), podcachetest.Owners{})
	for name, test := range map[string]struct {
		after any
		want  bool
	}{
		"bound to a local node":           {podcachetest.RunningPod("local-1", quota), true},
		"bound to a virtual node":         {podcachetest.RunningPod(podcachetest.VirtualNode, quota), false},
		"bound to a local node, no quota": {podcachetest.RunningPod("local-1"), false},
		"not bound":                       {podcachetest.WaitingPod(quota), false},
		"not a Pod":                       {"text", false},
	} {
		t.Run(name, func(t *testing.T) {
			namespace, ok := c.boundLocally(podcachetest.WaitingPod(quota), test.after)
			assert.Equal(t, test.want, ok)
			if ok {
				assert.Equal(t, "shop", namespace)
			}
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
	assert.ErrorContains(t, err, "registering the metrics of controller explain")
}
