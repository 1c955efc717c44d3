package translate_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// Its own affinity has done its work in the cluster.
func TestAPodRunsInTheZoneOfItsVirtualNode(t *testing.T) {
	in := func(zones ...string) *corev1.Affinity {
		return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
					{Key: "topology.kubernetes.io/zone", Operator: corev1.NodeSelectorOpIn, Values: zones},
				}}},
			},
		}}
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "1"},
		Spec: corev1.PodSpec{
			Affinity: in("north-a", "north-b"), Containers: []corev1.Container{{Name: "c", Image: "nginx"}},
		},
	}
	for name, test := range map[string]struct {
		zone    string
		version policy.CCIVersion
		want    *corev1.Affinity
	}{
		"a node without a zone":              {"", policy.CCI2, nil},
		"a node with a zone":                 {"north-a", policy.CCI2, in("north-a")},
		"CCI 1.0, where the network has one": {"north-a", policy.CCI1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			translator, err := translate.New(translate.Config{
				Version: test.version, Owner: owner, Zone: test.zone, DefaultSize: "0.50_1.0",
			})
			require.NoError(t, err)
			result, err := translator.Pod(pod, translate.Cluster{})
			require.NoError(t, err)
			assert.Equal(t, test.want, result.Pod.Spec.Affinity)
		})
	}
}
