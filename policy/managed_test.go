package policy_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

func TestHasPlacementKeys(t *testing.T) {
	cases := map[string]struct {
		labels, annotations map[string]string
		want                bool
	}{
		"a Pod without keys has none": {want: false},
		"the switch alone is none":    {annotations: map[string]string{policy.SwitchKey: "true"}, want: false},
		"a label of the user is none": {labels: map[string]string{"app": "web"}, want: false},
		"a quota is one": {
			annotations: map[string]string{policy.LocalReplicasAnnotation: "1"},
			want:        true,
		},
		"a malformed quota is one": {
			annotations: map[string]string{policy.LocalReplicasAnnotation: "x"},
			want:        true,
		},
		"a burst label is one":            {labels: map[string]string{policy.BurstLabel: "auto"}, want: true},
		"the burst label off is one":      {labels: map[string]string{policy.BurstLabel: "off"}, want: true},
		"a malformed burst label is one":  {labels: map[string]string{policy.BurstLabel: "always"}, want: true},
		"the alias of the burst label is": {labels: map[string]string{policy.BurstLabelAlias: "enforce"}, want: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: tc.labels, Annotations: tc.annotations}}
			assert.Equal(t, tc.want, policy.HasPlacementKeys(pod))
		})
	}
}
