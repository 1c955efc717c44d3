package provider

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

func TestAStatusPatchChangesTheStatusAlone(t *testing.T) {
	current := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web", UID: "uid-1", ResourceVersion: "7", Annotations: map[string]string{"of": "others"},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodPending, QOSClass: corev1.PodQOSBestEffort, PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}},
			Reason: "CloudUnavailable",
			Conditions: []corev1.PodCondition{
				{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
				{Type: "example.com/gate", Status: corev1.ConditionTrue},
				{Type: corev1.PodReady, Status: corev1.ConditionFalse},
			},
		},
	}
	wanted := *current.Status.DeepCopy()
	wanted.Phase, wanted.Reason = corev1.PodRunning, ""
	wanted.PodIPs = []corev1.PodIP{{IP: "10.0.0.2"}}
	// The conditions were computed before the gate was set.
	wanted.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}

	patch, err := statusPatch(current, wanted, map[string]any{})
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(patch, &fields))
	assert.Equal(t, map[string]any{"uid": "uid-1", "resourceVersion": "7"}, fields["metadata"],
		"the patch applies to this version of this Pod, and changes no other metadata")
	assert.ElementsMatch(t, []string{"metadata", "status"}, keys(fields))

	before, err := json.Marshal(current)
	require.NoError(t, err)
	after, err := strategicpatch.StrategicMergePatch(before, patch, &corev1.Pod{})
	require.NoError(t, err)
	var got corev1.Pod
	require.NoError(t, json.Unmarshal(after, &got))
	assert.Equal(t, current.ObjectMeta, got.ObjectMeta)
	assert.Equal(t, corev1.PodRunning, got.Status.Phase)
	assert.Empty(t, got.Status.Reason)
	assert.Equal(t, wanted.PodIPs, got.Status.PodIPs)
	for _, c := range got.Status.Conditions {
		assert.Equal(t, corev1.ConditionTrue, c.Status, "%s", c.Type)
	}
	assert.Len(t, got.Status.Conditions, 3)
}

func TestNoDifferenceIsNoPatch(t *testing.T) {
	pod := &corev1.Pod{Status: corev1.PodStatus{
		Phase:      corev1.PodRunning,
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}}
	patch, err := statusPatch(pod, *pod.Status.DeepCopy(), map[string]any{})
	require.NoError(t, err)
	assert.Nil(t, patch)
}

func keys(m map[string]any) []string {
	var list []string
	for key := range m {
		list = append(list, key)
	}
	return list
}

func TestConfigErrorsAreReportedTogether(t *testing.T) {
	_, err := New(Config{})
	for _, word := range []string{
		"Cloud", "Namespace", "Inventory", "Mirrors", "Translator", "Policy", "NodeDNS", "Services", "Pods", "Client",
		"Recorder", "Now", "Logger", "workers",
	} {
		assert.ErrorContains(t, err, word)
	}
}
