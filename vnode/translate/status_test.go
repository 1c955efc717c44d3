package translate_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// now is shown as 2026-01-02T03:04:05Z in golden files: the time of changes in this translation.
var now = metav1.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// statusInput is the content of testdata/status/<case>.input.yaml.
type statusInput struct {
	// Call is Status, DeletedStatus, WaitingStatus, FailedStatus or LostStatus.
	Call    string     `json:"call"`
	Reason  string     `json:"reason,omitempty"`
	Message string     `json:"message,omitempty"`
	Pod     corev1.Pod `json:"pod"`
	Cloud   *cci.Pod   `json:"cloud,omitempty"`
}

func (in statusInput) run(t *testing.T, now metav1.Time) corev1.PodStatus {
	const nodeIP = "10.0.0.9"
	switch in.Call {
	case "Status":
		return translate.Status(&in.Pod, in.Cloud, nodeIP, now)
	case "DeletedStatus":
		return translate.DeletedStatus(&in.Pod, in.Cloud, nodeIP, now)
	case "WaitingStatus":
		return translate.WaitingStatus(&in.Pod, in.Reason, in.Message, nodeIP, now)
	case "LostStatus":
		return translate.LostStatus(&in.Pod, in.Cloud, in.Reason, in.Message, nodeIP, now)
	case "FailedStatus":
		return translate.FailedStatus(&in.Pod, in.Cloud, in.Reason, in.Message, nodeIP, now)
	}
	t.Fatalf("unknown call %q", in.Call)
	return corev1.PodStatus{}
}

func TestStatusGoldens(t *testing.T) {
	files, err := filepath.Glob("testdata/status/*.input.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".input.yaml")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			var in statusInput
			require.NoError(t, yaml.UnmarshalStrict(data, &in))
			before := in.Pod.DeepCopy()
			status := in.run(t, now)
			assert.Equal(t, before, &in.Pod, "the Pod is not changed")

			again := in
			again.Pod.Status = status
			later := metav1.NewTime(now.Add(time.Minute))
			assert.Equal(t, status, again.run(t, later), "a second call changes nothing")

			got, err := yaml.Marshal(status)
			require.NoError(t, err)
			golden := filepath.Join("testdata", "status", name+".output.yaml")
			if *update {
				require.NoError(t, os.WriteFile(golden, got, 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), string(got))
		})
	}
}

func TestConditionsOfOtherComponentsAreKept(t *testing.T) {
	condition := func(conditionType corev1.PodConditionType, status corev1.ConditionStatus) corev1.PodCondition {
		return corev1.PodCondition{Type: conditionType, Status: status}
	}
	const gate = "example.com/gate"
	scheduled := condition(corev1.PodScheduled, "True")
	current := []corev1.PodCondition{condition(corev1.PodReady, "False"), condition(gate, "True"), scheduled}
	wanted := []corev1.PodCondition{condition(corev1.PodReady, "True"), condition(gate, "False")}
	assert.ElementsMatch(t,
		[]corev1.PodCondition{condition(corev1.PodReady, "True"), condition(gate, "True"), scheduled},
		translate.MergeConditions(current, wanted))
}
