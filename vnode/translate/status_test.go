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

// now is what goldens show as 2026-01-02T03:04:05Z: what changed in this translation.
var now = metav1.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// statusInput is what testdata/status/<case>.input.yaml holds.
type statusInput struct {
	// Call is Status, DeletedStatus, WaitingStatus or FailedStatus.
	Call    string     `json:"call"`
	Reason  string     `json:"reason,omitempty"`
	Message string     `json:"message,omitempty"`
	Pod     corev1.Pod `json:"pod"`
	Cloud   *cci.Pod   `json:"cloud,omitempty"`
}

func (in statusInput) run(t *testing.T) corev1.PodStatus {
	const nodeIP = "10.0.0.9"
	switch in.Call {
	case "Status":
		return translate.Status(&in.Pod, in.Cloud, nodeIP, now)
	case "DeletedStatus":
		return translate.DeletedStatus(&in.Pod, in.Cloud, nodeIP, now)
	case "WaitingStatus":
		return translate.WaitingStatus(&in.Pod, in.Reason, in.Message, nodeIP, now)
	case "FailedStatus":
		return translate.FailedStatus(&in.Pod, in.Cloud, in.Reason, in.Message, nodeIP, now)
	}
	t.Fatalf("call: %q is not known", in.Call)
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
			status := in.run(t)
			assert.Equal(t, before, &in.Pod, "the Pod is not changed")

			again := in
			again.Pod.Status = status
			assert.Equal(t, status, again.run(t), "the second time changes nothing")

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

func TestConditionsOfOthersAreKept(t *testing.T) {
	current := []corev1.PodCondition{{Type: corev1.PodReady, Status: "False"}, {Type: "example.com/gate", Status: "True"}, {Type: corev1.PodScheduled, Status: "True"}}
	wanted := []corev1.PodCondition{{Type: corev1.PodReady, Status: "True"}, {Type: "example.com/gate", Status: "False"}}
	assert.ElementsMatch(t, []corev1.PodCondition{
		{Type: corev1.PodReady, Status: "True"}, {Type: "example.com/gate", Status: "True"}, {Type: corev1.PodScheduled, Status: "True"},
	}, translate.MergeConditions(current, wanted))
}
