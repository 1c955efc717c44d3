package webhook

import (
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// requireNodeType adds to the Pod's node affinity that its node is a virtual one (In) or is none (NotIn). Terms are
// alternatives, so each of them gets it.
func requireNodeType(spec *corev1.PodSpec, operator corev1.NodeSelectorOperator) {
	requirement := corev1.NodeSelectorRequirement{
		Key: policy.NodeTypeLabel, Operator: operator, Values: []string{policy.NodeTypeVirtual},
	}
	if spec.Affinity == nil {
		spec.Affinity = &corev1.Affinity{}
	}
	if spec.Affinity.NodeAffinity == nil {
		spec.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	required := &spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if *required == nil {
		*required = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{}}}
		(*required).NodeSelectorTerms[0].MatchExpressions = []corev1.NodeSelectorRequirement{requirement}
		return
	}
	for i := range (*required).NodeSelectorTerms {
		addRequirement(&(*required).NodeSelectorTerms[i], requirement)
	}
}

// addRequirement leaves an empty term alone: it matches no node, and with a requirement it would match some.
func addRequirement(term *corev1.NodeSelectorTerm, requirement corev1.NodeSelectorRequirement) {
	empty := len(term.MatchExpressions) == 0 && len(term.MatchFields) == 0
	there := slices.ContainsFunc(term.MatchExpressions, func(r corev1.NodeSelectorRequirement) bool {
		return reflect.DeepEqual(r, requirement)
	})
	if !empty && !there {
		term.MatchExpressions = append(term.MatchExpressions, requirement)
	}
}
