package webhook

import (
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// requireNodeType adds the requirement to the node affinity of the Pod that its node is a virtual node (In) or is not
// (NotIn). Terms are alternatives, so the function adds the requirement to each of them.
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

// addRequirement skips an empty term: it matches no node, but with a requirement it would match some.
func addRequirement(term *corev1.NodeSelectorTerm, requirement corev1.NodeSelectorRequirement) {
	empty := len(term.MatchExpressions) == 0 && len(term.MatchFields) == 0
	exists := slices.ContainsFunc(term.MatchExpressions, func(r corev1.NodeSelectorRequirement) bool {
		return reflect.DeepEqual(r, requirement)
	})
	if !empty && !exists {
		term.MatchExpressions = append(term.MatchExpressions, requirement)
	}
}
