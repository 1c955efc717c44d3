package provider

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/spillway-k8s/spillway/policy"
)

// An attack: a Pod that will never run requests all that the Node has. The scheduler counts it until it has ended, so
// no Pod of another tenant would find room on the node.
func TestAPodThatNoSizeHoldsFailsAtOnce(t *testing.T) {
	for name, test := range map[string]struct {
		requests corev1.ResourceList
		global   policy.Switch
		label    string
		fails    bool
	}{
		"more CPU than any size":    {requests: list(corev1.ResourceCPU, "1k"), fails: true},
		"more memory than any size": {requests: list(corev1.ResourceMemory, "4000Gi"), fails: true},
		"more storage than any Pod": {requests: list(corev1.ResourceEphemeralStorage, "90Ti"), fails: true},
		"the switch is off too":     {requests: list(corev1.ResourceCPU, "1k"), global: policy.SwitchOff, fails: true},
		"the label is off too":      {requests: list(corev1.ResourceCPU, "1k"), label: "off", fails: true},
		"a usual Pod waits":         {requests: list(corev1.ResourceCPU, "1"), label: "off"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.facts.global = test.global
			pod := h.put(newPod("huge", restart(corev1.RestartPolicyAlways), func(pod *corev1.Pod) {
				pod.Spec.Containers[0].Resources.Requests = test.requests
				if test.label != "" {
					pod.Labels = map[string]string{policy.BurstLabel: test.label}
				}
			}))
			h.reconciles(pod)
			assert.Equal(t, test.fails, h.status().Phase == corev1.PodFailed, "%s: %s", h.status().Phase, h.status().
				Message)
			assert.NotEmpty(t, h.status().Reason)
			assert.NotEmpty(t, h.status().Message)
			assert.Zero(t, h.cloud.calls["create"])
		})
	}
}

func list(name corev1.ResourceName, quantity string) corev1.ResourceList {
	return corev1.ResourceList{name: resource.MustParse(quantity)}
}
