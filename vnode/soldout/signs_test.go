package soldout

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

func TestWhetherTheCloudHasAPlace(t *testing.T) {
	container := []corev1.ContainerStatus{{Name: "c"}}
	for name, test := range map[string]struct {
		status corev1.PodStatus
		placed bool
		words  string
	}{
		"nothing is known yet": {},
		"the cloud says in the Pod's status why not": {
			status: corev1.PodStatus{Reason: "Unschedulable", Message: "no flavor"}, words: "Unschedulable no flavor",
		},
		"the cloud says in a condition why not": {
			status: corev1.PodStatus{Conditions: []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "sold out",
			}}},
			words: "Unschedulable sold out",
		},
		"a condition says that it has one": {
			status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}}, placed: true,
		},
		"a condition weighs more than containers": {
			status: corev1.PodStatus{
				Conditions:        []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable"}},
				ContainerStatuses: container,
			},
			words: "Unschedulable",
		},
		"without a condition, containers show it":      {status: corev1.PodStatus{ContainerStatuses: container}, placed: true},
		"without a condition, init containers show it": {status: corev1.PodStatus{InitContainerStatuses: container}, placed: true},
	} {
		t.Run(name, func(t *testing.T) {
			placed, words := hasPlace(&cci.Pod{Status: test.status})
			assert.Equal(t, test.placed, placed)
			assert.Equal(t, test.words, words)
		})
	}
}
