package controllers

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/spillway-k8s/spillway/admission/verdict"
	"github.com/spillway-k8s/spillway/policy"
)

// waitingPod is one for which the scheduler has found no node.
func waitingPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "web", UID: "u1", ResourceVersion: "7", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-1", Controller: new(true)}},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable},
		}},
	}
}

func TestWhichPodsWait(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		want   bool
	}{
		"one for which no node was found":            {func(*corev1.Pod) {}, true},
		"one that has a node":                        {func(p *corev1.Pod) { p.Spec.NodeName = "local-1" }, false},
		"one that is being deleted":                  {func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }, false},
		"one that is gated":                          {func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}} }, false},
		"one that preemption makes room for":         {func(p *corev1.Pod) { p.Status.NominatedNodeName = "local-1" }, false},
		"one that the scheduler has not looked at":   {func(p *corev1.Pod) { p.Status.Conditions = nil }, false},
		"one that the scheduler could not judge":     {func(p *corev1.Pod) { p.Status.Conditions[0].Reason = corev1.PodReasonSchedulerError }, false},
		"one that has been scheduled":                {func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionTrue }, false},
		"one that has failed before it had a node":   {func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, false},
		"one of a DaemonSet, meant for a full node":  {func(p *corev1.Pod) { p.OwnerReferences[0].Kind = "DaemonSet" }, false},
		"one whose owner of that kind is none of it": {func(p *corev1.Pod) { p.OwnerReferences[0].Kind, p.OwnerReferences[0].Controller = "DaemonSet", nil }, true},
	} {
		t.Run(name, func(t *testing.T) {
			pod := waitingPod()
			test.change(pod)
			assert.Equal(t, test.want, isWaiting(pod))
			kept, err := slim(pod.DeepCopy())
			require.NoError(t, err)
			found, err := indexWaiting(kept)
			require.NoError(t, err)
			assert.Equal(t, test.want, len(found) == 1, "the index of the slim Pods agrees")
		})
	}
}

func TestWhichPodsAreRankedOnAVirtualNode(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		want   bool
	}{
		"one of a ReplicaSet":                  {func(*corev1.Pod) {}, true},
		"one without a node":                   {func(p *corev1.Pod) { p.Spec.NodeName = "" }, false},
		"one with a rank of the user's":        {func(p *corev1.Pod) { p.Annotations = map[string]string{policy.DeletionCostAnnotation: "5"} }, false},
		"one with an empty rank of the user's": {func(p *corev1.Pod) { p.Annotations = map[string]string{policy.DeletionCostAnnotation: ""} }, false},
		"one with other annotations":           {func(p *corev1.Pod) { p.Annotations = map[string]string{"a": "b"} }, true},
		"one of a StatefulSet":                 {func(p *corev1.Pod) { p.OwnerReferences[0].Kind = "StatefulSet" }, false},
		"one of nobody":                        {func(p *corev1.Pod) { p.OwnerReferences = nil }, false},
		"one that is being deleted":            {func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }, false},
		"one that has succeeded":               {func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }, false},
		"one that has failed":                  {func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, false},
	} {
		t.Run(name, func(t *testing.T) {
			pod := waitingPod()
			pod.Spec.NodeName, pod.Status = "virtual-node-cci-0", corev1.PodStatus{Phase: corev1.PodRunning}
			test.change(pod)
			assert.Equal(t, test.want, isUnranked(pod))
			kept, err := slim(pod.DeepCopy())
			require.NoError(t, err)
			found, err := indexUnranked(kept)
			require.NoError(t, err)
			assert.Equal(t, test.want, len(found) == 1, "the index of the slim Pods agrees")
		})
	}
}

func TestSlimKeepsWhatAWaitingPodIsJudgedBy(t *testing.T) {
	pod := waitingPod()
	kept, err := slim(pod.DeepCopy())
	require.NoError(t, err)
	pod.ManagedFields = nil
	assert.Equal(t, pod, kept)

	other, err := slim("no Pod")
	require.NoError(t, err)
	assert.Equal(t, "no Pod", other)
}

func TestTheReleaseHoldsForTheJudgedPodOnly(t *testing.T) {
	pod := waitingPod()
	pod.Spec.Tolerations = []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists}}
	got, err := releasePatch(pod, verdict.Verdict{Label: policy.ModeAuto})
	require.NoError(t, err)
	assert.JSONEq(t, `{
		"metadata": {"uid": "u1", "resourceVersion": "7", "labels": {"virtual-kubelet.io/burst-to-cci": "auto"}},
		"spec": {"tolerations": [
			{"key": "dedicated", "operator": "Exists"},
			{"key": "virtual-kubelet.io/provider", "operator": "Equal", "value": "huawei", "effect": "NoSchedule"}
		]}
	}`, string(got))
	assert.Len(t, pod.Spec.Tolerations, 1, "the cached Pod is not changed")

	for name, labels := range map[string]map[string]string{
		"no mode anywhere": nil, "its own mode": {policy.BurstLabel: "auto"}, "its own mode by the alias": {policy.BurstLabelAlias: "auto"},
	} {
		pod.Labels = labels
		v := verdict.Verdict{Label: policy.ModeAuto}
		if labels == nil {
			v.Label = policy.ModeNone
		}
		got, err := releasePatch(pod, v)
		require.NoError(t, err)
		var patch struct {
			Metadata map[string]any `json:"metadata"`
		}
		require.NoError(t, json.Unmarshal(got, &patch))
		assert.NotContains(t, patch.Metadata, "labels", name)
	}
}

func TestTheRankHoldsForTheSeenPodOnly(t *testing.T) {
	got, err := rankPatch(waitingPod())
	require.NoError(t, err)
	assert.JSONEq(t, `{"metadata": {"uid": "u1", "resourceVersion": "7", "annotations": {"controller.kubernetes.io/pod-deletion-cost": "-100"}}}`, string(got))
}

func TestEventsHaveNamesThatTheAPIServerTakes(t *testing.T) {
	seen := map[string]bool{}
	for _, pod := range []string{"web", "web-0", strings.Repeat("a", 253), strings.Repeat("a.", 120) + "b"} {
		for _, ev := range []event{{"Normal", "SwitchOff", "m"}, {"Normal", "SwitchOff", "n"}, {"Normal", "LabelOff", "m"}} {
			p := waitingPod()
			p.Name = pod
			name := eventName(p, ev)
			assert.Empty(t, validation.IsDNS1123Subdomain(name), name)
			assert.False(t, seen[name], "what is said differs, and so does the name")
			seen[name] = true
			assert.Equal(t, name, eventName(p, ev), "the same is said under the same name")
		}
	}
}

func TestLongMessagesAreCutBetweenCharacters(t *testing.T) {
	got := compose("n", waitingPod(), event{"Normal", "HostPath", strings.Repeat("云", 1000)}, time.Unix(0, 0))
	assert.LessOrEqual(t, len(got.Message), longestMessage)
	assert.True(t, strings.HasSuffix(got.Message, "云..."), got.Message[len(got.Message)-20:])
}

func TestMetricsAreRegisteredOnce(t *testing.T) {
	registry := prometheus.NewRegistry()
	_, err := NewMetrics(registry)
	require.NoError(t, err)
	_, err = NewMetrics(registry)
	assert.ErrorContains(t, err, "registering the metrics of the controllers")
}
