package policy_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

func TestIsActive(t *testing.T) {
	now := metav1.Now()
	for name, c := range map[string]struct {
		deleted *metav1.Time
		phase   corev1.PodPhase
		want    bool
	}{
		"a Pod without a status is active":   {nil, "", true},
		"a pending Pod is active":            {nil, corev1.PodPending, true},
		"a running Pod is active":            {nil, corev1.PodRunning, true},
		"a Pod in an unknown phase is":       {nil, corev1.PodUnknown, true},
		"a Pod that has succeeded is not":    {nil, corev1.PodSucceeded, false},
		"a Pod that has failed is not":       {nil, corev1.PodFailed, false},
		"a running Pod that terminates, not": {&now, corev1.PodRunning, false},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: c.deleted}, Status: corev1.PodStatus{Phase: c.phase},
			}
			assert.Equal(t, c.want, policy.IsActive(pod))
		})
	}
}

func TestPodConditionIsFoundByItsType(t *testing.T) {
	pod := &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{
		{Type: corev1.PodReady, Reason: "first"}, {Type: corev1.PodScheduled, Reason: "second"},
	}}}
	found := policy.PodCondition(pod, corev1.PodScheduled)
	require.NotNil(t, found)
	assert.Equal(t, "second", found.Reason)
	assert.Nil(t, policy.PodCondition(pod, corev1.PodInitialized))
}

func TestRefusals(t *testing.T) {
	const refusal = policy.RefusalPrefix + "PreemptFirst: no local node fits"
	for name, c := range map[string]struct {
		condition    corev1.PodCondition
		extender, is bool
	}{
		"a Pod without the condition": {corev1.PodCondition{Type: corev1.PodReady}, false, false},
		"this refusal": {corev1.PodCondition{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/4 nodes are available: 4 " + refusal + ".",
		}, true, true},
		"another refusal of the extender": {corev1.PodCondition{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse,
			Message: "1 " + policy.RefusalPrefix + "CloudOnly: none fits",
		}, true, false},
		"a refusal of the scheduler": {corev1.PodCondition{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "4 Insufficient cpu",
		}, false, false},
		"a scheduled Pod": {corev1.PodCondition{
			Type: corev1.PodScheduled, Status: corev1.ConditionTrue, Message: refusal,
		}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{c.condition}}}
			assert.Equal(t, c.extender, policy.RefusedByExtender(pod))
			assert.Equal(t, c.is, policy.RefusedWith(pod, refusal))
		})
	}
}
