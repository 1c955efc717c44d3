package webhook

import (
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// requireNodeType adds the requirement to the node affinity of the Pod that its node is a virtual node (In) or is not
// (NotIn). Terms are alternatives, so the function adds the requirement to each of them, in place of the opposite one.
// It reports whether it changed the Pod.
func requireNodeType(spec *corev1.PodSpec, operator corev1.NodeSelectorOperator) (changed bool) {
	required, created := policy.RequireNodeAffinity(spec)
	if created {
		required.NodeSelectorTerms = []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{nodeType(operator)},
		}}
		return true
	}
	for i := range required.NodeSelectorTerms {
		if term := &required.NodeSelectorTerms[i]; !policy.IsEmptyTerm(term) {
			changed = replaceRequirement(term, nodeType(operator), nodeType(opposite(operator))) || changed
		}
	}
	return changed
}

// nodeType returns the requirement of requireNodeType.
func nodeType(operator corev1.NodeSelectorOperator) corev1.NodeSelectorRequirement {
	return corev1.NodeSelectorRequirement{
		Key: policy.NodeTypeLabel, Operator: operator, Values: []string{policy.NodeTypeVirtual},
	}
}

func opposite(operator corev1.NodeSelectorOperator) corev1.NodeSelectorOperator {
	if operator == corev1.NodeSelectorOpIn {
		return corev1.NodeSelectorOpNotIn
	}
	return corev1.NodeSelectorOpIn
}

// replaceRequirement adds one requirement to a term and removes another.
func replaceRequirement(term *corev1.NodeSelectorTerm, add, remove corev1.NodeSelectorRequirement) (changed bool) {
	changed = removeRequirement(term, remove)
	if slices.ContainsFunc(term.MatchExpressions, equal(add)) {
		return changed
	}
	term.MatchExpressions = append(term.MatchExpressions, add)
	return true
}

func removeRequirement(term *corev1.NodeSelectorTerm, requirement corev1.NodeSelectorRequirement) (changed bool) {
	before := len(term.MatchExpressions)
	term.MatchExpressions = slices.DeleteFunc(term.MatchExpressions, equal(requirement))
	return len(term.MatchExpressions) < before
}

func equal(requirement corev1.NodeSelectorRequirement) func(corev1.NodeSelectorRequirement) bool {
	return func(r corev1.NodeSelectorRequirement) bool { return reflect.DeepEqual(r, requirement) }
}

// requireAndRecord is requireNodeType for a Pod, with the annotation that says who added the requirement.
func requireAndRecord(pod *corev1.Pod, operator corev1.NodeSelectorOperator) {
	if !requireNodeType(&pod.Spec, operator) {
		return
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[policy.AddedAffinityAnnotation] = string(operator)
}

// withoutAdded returns the Pod without the requirement that admission added before: the API server calls the webhook
// again after other webhooks, which may have changed what the decision depends on. The Pod itself stays unchanged.
func withoutAdded(pod *corev1.Pod) *corev1.Pod {
	operator, ok := pod.Annotations[policy.AddedAffinityAnnotation]
	if !ok {
		return pod
	}
	out := pod.DeepCopy()
	if delete(out.Annotations, policy.AddedAffinityAnnotation); len(out.Annotations) == 0 {
		out.Annotations = nil
	}
	affinity := out.Spec.Affinity
	if affinity == nil || affinity.NodeAffinity == nil {
		return out
	}
	required := affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil {
		return out
	}
	// A term that has nothing else is one that requireNodeType created.
	required.NodeSelectorTerms = slices.DeleteFunc(required.NodeSelectorTerms, func(term corev1.NodeSelectorTerm) bool {
		only := len(term.MatchFields) == 0 && len(term.MatchExpressions) == 1
		return only && equal(nodeType(corev1.NodeSelectorOperator(operator)))(term.MatchExpressions[0])
	})
	for i := range required.NodeSelectorTerms {
		removeRequirement(&required.NodeSelectorTerms[i], nodeType(corev1.NodeSelectorOperator(operator)))
	}
	if len(required.NodeSelectorTerms) == 0 { // The API server rejects a selector without terms.
		affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = nil
	}
	if reflect.DeepEqual(*affinity.NodeAffinity, corev1.NodeAffinity{}) {
		affinity.NodeAffinity = nil
	}
	if reflect.DeepEqual(*affinity, corev1.Affinity{}) {
		out.Spec.Affinity = nil
	}
	return out
}
