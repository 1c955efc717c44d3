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

func TestWhichPodsAreTendedForTheirKeys(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		want   bool
	}{
		"one whose quota is malformed":    {func(p *corev1.Pod) { p.Annotations = map[string]string{policy.LocalReplicasAnnotation: "x"} }, true},
		"one whose switch is malformed":   {func(p *corev1.Pod) { p.Annotations = map[string]string{policy.SwitchKey: "x"} }, true},
		"one whose label is malformed":    {func(p *corev1.Pod) { p.Labels = map[string]string{policy.BurstLabel: "x"} }, true},
		"one whose alias is malformed":    {func(p *corev1.Pod) { p.Labels = map[string]string{policy.BurstLabelAlias: "x"} }, true},
		"one with malformed replacements": {func(p *corev1.Pod) { p.Annotations = map[string]string{policy.HostPathReplacementAnnotation: "x"} }, true},
		"one whose keys are right":        {func(p *corev1.Pod) { p.Annotations = map[string]string{policy.LocalReplicasAnnotation: "1"} }, false},
		"one without a key":               {func(*corev1.Pod) {}, false},
		"one that is being deleted": {func(p *corev1.Pod) {
			p.Labels, p.DeletionTimestamp = map[string]string{policy.BurstLabel: "x"}, &metav1.Time{}
		}, false},
		"one that has failed": {func(p *corev1.Pod) {
			p.Labels, p.Status.Phase = map[string]string{policy.BurstLabel: "x"}, corev1.PodFailed
		}, false},
		"one of a DaemonSet, to which keys mean nothing": {func(p *corev1.Pod) {
			p.Labels, p.OwnerReferences[0].Kind = map[string]string{policy.BurstLabel: "x"}, "DaemonSet"
		}, false},
	} {
		for _, node := range []string{"", "local-1"} {
			t.Run(name+" on node "+node, func(t *testing.T) {
				pod := waitingPod()
				pod.Spec.NodeName, pod.ManagedFields = node, nil
				test.change(pod)
				kept, err := slim(pod.DeepCopy())
				require.NoError(t, err)
				assert.Equal(t, test.want, isMalformed(pod))
				if test.want {
					assert.Equal(t, pod, kept, "it is kept whole: it is to be judged")
				}
			})
		}
	}
}

func TestWhichPodsAreTendedForTheirGroup(t *testing.T) {
	quota := map[string]string{policy.LocalReplicasAnnotation: "1"}
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		want   bool
	}{
		"one with a quota":      {func(p *corev1.Pod) { p.Annotations = quota }, true},
		"one without a quota":   {func(*corev1.Pod) {}, false},
		"one of no group":       {func(p *corev1.Pod) { p.Annotations, p.Spec.SchedulingGroup = quota, nil }, false},
		"one that has finished": {func(p *corev1.Pod) { p.Annotations, p.Status.Phase = quota, corev1.PodSucceeded }, false},
		"one that is still said to have a quota": {func(p *corev1.Pod) {
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: policy.LocalReplicasCondition})
		}, true},
	} {
		for _, node := range []string{"", "local-1"} {
			t.Run(name+" on node "+node, func(t *testing.T) {
				pod := waitingPod()
				pod.Spec.NodeName, pod.ManagedFields = node, nil
				pod.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: new("train")}
				test.change(pod)
				kept, err := slim(pod.DeepCopy())
				require.NoError(t, err)
				assert.Equal(t, test.want, isGrouped(pod))
				if test.want {
					assert.Equal(t, pod, kept, "it is kept whole: it is to be judged")
				}
			})
		}
	}
}

func TestWhichPodsCountForARevision(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		want   []string
	}{
		"one of a ReplicaSet":         {func(*corev1.Pod) {}, []string{"o1/"}},
		"one of a revision":           {func(p *corev1.Pod) { p.Labels = map[string]string{"controller-revision-hash": "h"} }, []string{"o1/h"}},
		"one of nobody":               {func(p *corev1.Pod) { p.OwnerReferences = nil }, []string{"u1/"}},
		"one without a quota":         {func(p *corev1.Pod) { p.Annotations = nil }, nil},
		"one without a node":          {func(p *corev1.Pod) { p.Spec.NodeName = "" }, nil},
		"one that is being deleted":   {func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }, nil},
		"one that has done its work":  {func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }, nil},
		"one whose quota is not read": {func(p *corev1.Pod) { p.Annotations[policy.LocalReplicasAnnotation] = "x" }, []string{"o1/"}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := waitingPod()
			pod.Spec.NodeName, pod.Status.Phase, pod.OwnerReferences[0].UID = "local-1", corev1.PodRunning, "o1"
			pod.Annotations = map[string]string{policy.LocalReplicasAnnotation: "1", "note": "long"}
			test.change(pod)
			kept, err := slim(pod.DeepCopy())
			require.NoError(t, err)
			found, err := indexRevision(kept)
			require.NoError(t, err)
			assert.Equal(t, test.want, found)
		})
	}
}

func TestWhatAPodWithMalformedKeysIsTold(t *testing.T) {
	_, replacementsErr := policy.ParseReplacements(map[string]string{policy.HostPathReplacementAnnotation: `[{"name":"a","policyType":"x"},{"policyType":"remove"}]`})
	_, _, quotaErr := policy.ParseLocalReplicas(map[string]string{policy.LocalReplicasAnnotation: "x"})
	ev := malformed(verdict.Verdict{Faults: []error{quotaErr, replacementsErr}, Off: true})
	assert.Equal(t, event{corev1.EventTypeWarning, policy.ReasonInvalid, `LOCAL_REPLICAS: invalid value "x": must be a whole number from 0 to 2147483647, such as "1"; ` +
		`coordinator.cci.io/hostpath-replacement[0].policyType: invalid value "x": must be remove or replaceByEmptyDir; ` +
		`coordinator.cci.io/hostpath-replacement[1].name: must be the name of a volume or "*"; until that is right the Pod is treated as off: it does not burst`}, ev)
	assert.Contains(t, malformed(verdict.Verdict{Faults: []error{quotaErr}}).message, "it is ignored: where this Pod runs does not depend on it")
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
