package policy

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// VirtualNode is what a decision depends on of a virtual node of Spillway. Its taints are not part of it: they are set
// and removed while Pods wait, and a Pod over its quota must not become local because a node is drained.
type VirtualNode struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
}

// selects reports whether the node selector and the required node affinity of a Pod match the node, as the scheduler's
// plugin NodeAffinity decides. Source: Kubernetes v1.36,
// staging/src/k8s.io/component-helpers/scheduling/corev1/nodeaffinity.
func (n VirtualNode) selects(spec *corev1.PodSpec) bool {
	for key, value := range spec.NodeSelector {
		if has, ok := n.Labels[key]; !ok || has != value {
			return false
		}
	}
	required := requiredNodeAffinity(spec)
	return required == nil || n.matchesAny(required.NodeSelectorTerms)
}

// excludesVirtualNodes reports whether a requirement is the one that the webhook adds to Pods that may not burst.
func excludesVirtualNodes(r corev1.NodeSelectorRequirement) bool {
	return r.Key == NodeTypeLabel && r.Operator == corev1.NodeSelectorOpNotIn &&
		slices.Contains(r.Values, NodeTypeVirtual)
}

// matchesAny reports whether the node matches one of the terms.
func (n VirtualNode) matchesAny(terms []corev1.NodeSelectorTerm) bool {
	return slices.ContainsFunc(terms, n.matches)
}

func requiredNodeAffinity(spec *corev1.PodSpec) *corev1.NodeSelector {
	if spec.Affinity == nil || spec.Affinity.NodeAffinity == nil {
		return nil
	}
	return spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
}

// RequireNodeAffinity returns the required node affinity of a Pod. If the Pod has none, the function adds one without
// terms, which the caller must fill: the API server rejects it.
func RequireNodeAffinity(spec *corev1.PodSpec) (required *corev1.NodeSelector, created bool) {
	if required := requiredNodeAffinity(spec); required != nil {
		return required, false
	}
	if spec.Affinity == nil {
		spec.Affinity = &corev1.Affinity{}
	}
	if spec.Affinity.NodeAffinity == nil {
		spec.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	required = &corev1.NodeSelector{}
	spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = required
	return required, true
}

// IsEmptyTerm reports whether a term matches no node because it has no requirement. With one, it would match some.
func IsEmptyTerm(term *corev1.NodeSelectorTerm) bool {
	return len(term.MatchExpressions) == 0 && len(term.MatchFields) == 0
}

// matches reports whether the node matches a term.
func (n VirtualNode) matches(term corev1.NodeSelectorTerm) bool {
	if IsEmptyTerm(&term) {
		return false
	}
	for _, r := range term.MatchExpressions {
		if !meets(n.Labels, r) {
			return false
		}
	}
	fields := map[string]string{metav1.ObjectNameField: n.Name} // The only field that Kubernetes supports.
	for _, r := range term.MatchFields {
		if !meets(fields, r) {
			return false
		}
	}
	return true
}

// meets reports whether values meet a requirement. A malformed requirement is not met.
func meets(values map[string]string, r corev1.NodeSelectorRequirement) bool {
	value, ok := values[r.Key]
	switch r.Operator {
	case corev1.NodeSelectorOpIn:
		return ok && slices.Contains(r.Values, value)
	case corev1.NodeSelectorOpNotIn:
		return !ok || !slices.Contains(r.Values, value)
	case corev1.NodeSelectorOpExists:
		return ok
	case corev1.NodeSelectorOpDoesNotExist:
		return !ok
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		if !ok || len(r.Values) != 1 {
			return false
		}
		is, errIs := strconv.ParseInt(value, 10, 64)
		limit, errLimit := strconv.ParseInt(r.Values[0], 10, 64)
		if errIs != nil || errLimit != nil {
			return false
		}
		if r.Operator == corev1.NodeSelectorOpGt {
			return is > limit
		}
		return is < limit
	}
	return false
}

// selected returns the virtual nodes that the selectors of the Pod match, or all if they match none: then
// ReasonNodeSelector says so.
func (s subject) selected() []VirtualNode {
	found := slices.DeleteFunc(slices.Clone(s.nodes), func(n VirtualNode) bool { return !n.selects(s.spec) })
	if len(found) == 0 {
		return s.nodes
	}
	return found
}

// checkNodeSelector finds selectors that match no virtual node. While the cluster has none, nothing is excluded.
func checkNodeSelector(s subject) []string {
	if len(s.nodes) == 0 || slices.ContainsFunc(s.nodes, func(n VirtualNode) bool { return n.selects(s.spec) }) {
		return nil
	}
	if s.ignoredTooLate() {
		return []string{"nodeSelector and required node affinity match no virtual node: policy.ignoredNodeSelectors " +
			"applies when a Pod is created: recreate the Pod, with a burst label if it has no controller"}
	}
	const right = ", or give the virtual nodes such labels"
	var found []string
	for _, key := range slices.Sorted(maps.Keys(s.spec.NodeSelector)) {
		value := s.spec.NodeSelector[key]
		if !slices.ContainsFunc(s.nodes, func(n VirtualNode) bool {
			has, ok := n.Labels[key]
			return ok && has == value
		}) {
			found = append(found,
				fmt.Sprintf("nodeSelector %s=%s matches no virtual node: remove it%s", key, value, right))
		}
	}
	required := requiredNodeAffinity(s.spec)
	if required != nil && !slices.ContainsFunc(s.nodes, func(n VirtualNode) bool {
		return n.matchesAny(required.NodeSelectorTerms)
	}) {
		found = append(found, fmt.Sprintf("the required node affinity (%s) matches no virtual node: "+
			"add a term that does%s", keysOf(required), right))
	}
	if len(found) == 0 {
		found = append(found, "no virtual node matches the whole of nodeSelector and required node affinity: "+
			"remove what excludes it"+right)
	}
	return found
}

// ignoredTooLate reports whether a virtual node would match if the webhook had prepared the Pod. It prepares neither
// Pods that were created before the selectors were ignored or while it was down, nor those without a key that it does
// not see or that could not burst at that time.
func (s subject) ignoredTooLate() bool {
	if !s.ignored.concern(s.spec) {
		return false
	}
	prepared := s.spec.DeepCopy()
	s.ignored.rewrite(prepared)
	return slices.ContainsFunc(s.nodes, func(n VirtualNode) bool { return n.selects(prepared) })
}

// keysOf lists the keys of the requirements of a node selector, each once.
func keysOf(selector *corev1.NodeSelector) string {
	var keys []string
	for _, term := range selector.NodeSelectorTerms {
		for _, r := range slices.Concat(term.MatchExpressions, term.MatchFields) {
			if !slices.Contains(keys, r.Key) {
				keys = append(keys, r.Key)
			}
		}
	}
	return Clip(strings.Join(keys, ", "), maxCause)
}

// lacks reports whether none of the nodes has a topology. Without nodes, nothing is known.
func lacks(nodes []VirtualNode, topologyKey string) bool {
	return len(nodes) > 0 && !slices.ContainsFunc(nodes, func(n VirtualNode) bool {
		_, ok := n.Labels[topologyKey]
		return ok
	})
}

// checkPodAffinity finds required affinity to other Pods by a topology that virtual nodes do not have, usually
// kubernetes.io/hostname. The scheduler's plugin InterPodAffinity fits no node without the label. Anti-affinity is met
// there.
func checkPodAffinity(s subject) []string {
	if s.spec.Affinity == nil || s.spec.Affinity.PodAffinity == nil {
		return nil
	}
	var found []string
	nodes, affinity := s.selected(), s.spec.Affinity.PodAffinity
	required := affinity.RequiredDuringSchedulingIgnoredDuringExecution
	for _, term := range required {
		if !lacks(nodes, term.TopologyKey) {
			continue
		}
		advice := []string{"use preferredDuringSchedulingIgnoredDuringExecution"}
		if slices.ContainsFunc(affinity.PreferredDuringSchedulingIgnoredDuringExecution,
			func(p corev1.WeightedPodAffinityTerm) bool { return reflect.DeepEqual(p.PodAffinityTerm, term) }) {
			advice = []string{"remove it, because the Pod prefers the same already"}
		}
		zones := slices.ContainsFunc(required,
			func(t corev1.PodAffinityTerm) bool { return t.TopologyKey == corev1.LabelTopologyZone })
		found = append(found, fmt.Sprintf("the required podAffinity by %s fits on no virtual node, "+
			"which has no such label: %s", term.TopologyKey, otherTopology(nodes, term.TopologyKey, zones, advice)))
	}
	return found
}

// checkTopologySpread finds hard constraints by a topology that virtual nodes do not have, usually
// kubernetes.io/hostname. The scheduler's plugin PodTopologySpread fits no node without the label, and with it counts
// all Pods of a virtual node as Pods of one host.
func checkTopologySpread(s subject) []string {
	constraints := s.spec.TopologySpreadConstraints
	if len(constraints) == 0 {
		return nil
	}
	var found []string
	nodes := s.selected()
	for _, c := range constraints {
		if c.WhenUnsatisfiable != corev1.DoNotSchedule || !lacks(nodes, c.TopologyKey) {
			continue
		}
		advice := []string{"use ScheduleAnyway"}
		if slices.ContainsFunc(constraints, func(o corev1.TopologySpreadConstraint) bool {
			return o.WhenUnsatisfiable == corev1.ScheduleAnyway && o.TopologyKey == c.TopologyKey &&
				reflect.DeepEqual(o.LabelSelector, c.LabelSelector)
		}) {
			advice = []string{"remove it, because the Pod has the same with ScheduleAnyway already"}
		}
		if c.TopologyKey == corev1.LabelHostname {
			advice = append(advice, "use podAntiAffinity for one Pod on each host")
			if isAloneOnHost(s.spec) {
				advice = []string{"remove it, because the podAntiAffinity of the Pod spreads over hosts already"}
			}
		}
		zones := slices.ContainsFunc(constraints,
			func(o corev1.TopologySpreadConstraint) bool { return o.TopologyKey == corev1.LabelTopologyZone })
		found = append(found, fmt.Sprintf("the topologySpreadConstraint by %s with whenUnsatisfiable DoNotSchedule "+
			"fits on no virtual node, which has no such label: %s",
			c.TopologyKey, otherTopology(nodes, c.TopologyKey, zones, advice)))
	}
	return found
}

// isAloneOnHost reports whether the Pod requires that some other Pods are not on its host.
func isAloneOnHost(spec *corev1.PodSpec) bool {
	return spec.Affinity != nil && spec.Affinity.PodAntiAffinity != nil && slices.ContainsFunc(
		spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution,
		func(t corev1.PodAffinityTerm) bool { return t.TopologyKey == corev1.LabelHostname })
}

// otherTopology joins advice about a topology that virtual nodes lack, and adds which other topology would fit. zones
// reports whether the Pod has the same for zones already. The host name is not a label to give to virtual nodes:
// docs/decisions/no-hostname-label.md.
func otherTopology(nodes []VirtualNode, topologyKey string, zones bool, advice []string) string {
	if !zones && !lacks(nodes, corev1.LabelTopologyZone) {
		advice = append(advice, "use "+corev1.LabelTopologyZone)
	}
	if topologyKey != corev1.LabelHostname {
		advice = append(advice, "give the virtual nodes the label")
	}
	return strings.Join(advice, ", or ")
}
