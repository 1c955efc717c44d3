package fit

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
)

// spreadConstraint is a topology spread constraint with DoNotSchedule, and the Pods that it counts
// (podtopologyspread/filtering.go).
type spreadConstraint struct {
	topologyKey string
	maxSkew     int
	selector    labels.Selector
	// self is 1 if the Pod counts itself.
	self int
	// there is the situation while the Pod that is to be replaced is there, gone the one afterwards.
	there, gone domains
}

// domains are the matching Pods by the values of a topology key.
type domains struct {
	counts map[string]int
	// least is the global minimum.
	least int
}

func (c *Cluster) spreadOf(pod *corev1.Pod) (constraints []spreadConstraint, why string) {
	var required []*corev1.TopologySpreadConstraint
	for i := range pod.Spec.TopologySpreadConstraints {
		if t := &pod.Spec.TopologySpreadConstraints[i]; t.WhenUnsatisfiable == corev1.DoNotSchedule {
			required = append(required, t)
		}
	}
	if len(required) == 0 {
		return nil, ""
	}
	inAll := func(n *node) bool {
		return !slices.ContainsFunc(required, func(t *corev1.TopologySpreadConstraint) bool {
			_, ok := n.Labels[t.TopologyKey]
			return !ok
		})
	}
	rules := newNodeRules(pod)
	for _, t := range required {
		selector, err := spreadSelector(t, pod)
		if err != nil {
			return nil, "a topology spread constraint has a label selector that cannot be read"
		}
		constraint := spreadConstraint{topologyKey: t.TopologyKey, maxSkew: int(t.MaxSkew), selector: selector}
		if selector.Matches(labels.Set(pod.Labels)) {
			constraint.self = 1
		}
		counts := map[string]int{}
		counted := make(map[*node]bool, len(c.nodes))
		for _, n := range c.nodes {
			if counted[n] = inAll(n) && included(t, n, rules); counted[n] {
				counts[n.Labels[t.TopologyKey]] += 0
			}
		}
		gone := map[string]int{}
		if !selector.Empty() { // It matches all Pods then, and the scheduler counts none.
			for p := range c.index().matching(selector) {
				if p.nominated || p.Namespace != pod.Namespace || p.DeletionTimestamp != nil || !counted[p.node] {
					continue
				}
				value := p.node.Labels[t.TopologyKey]
				counts[value]++
				if p.UID == pod.UID {
					gone[value]--
				}
			}
		}
		minDomains := int(ptr.Deref(t.MinDomains, 1))
		constraint.there = newDomains(maps.Clone(counts), minDomains)
		for value, change := range gone {
			counts[value] += change
		}
		constraint.gone = newDomains(counts, minDomains)
		constraints = append(constraints, constraint)
	}
	return constraints, ""
}

func newDomains(counts map[string]int, minDomains int) domains {
	d := domains{counts: counts}
	if len(counts) >= max(minDomains, 1) {
		d.least = slices.Min(slices.Collect(maps.Values(counts)))
	}
	return d
}

// spreadSelector returns the selector of a constraint with the labels that matchLabelKeys add.
func spreadSelector(t *corev1.TopologySpreadConstraint, pod *corev1.Pod) (labels.Selector, error) {
	selector, err := metav1.LabelSelectorAsSelector(t.LabelSelector)
	if err != nil {
		return nil, err
	}
	own := labels.Set{}
	for _, key := range t.MatchLabelKeys {
		if value, ok := pod.Labels[key]; ok {
			own[key] = value
		}
	}
	requirements, selectable := selector.Requirements()
	if len(own) == 0 || !selectable {
		return selector, nil
	}
	return labels.SelectorFromSet(own).Add(requirements...), nil
}

// included reports whether the policies of a constraint count the node.
func included(t *corev1.TopologySpreadConstraint, n *node, rules nodeRules) bool {
	if ptr.Deref(t.NodeAffinityPolicy, corev1.NodeInclusionPolicyHonor) == corev1.NodeInclusionPolicyHonor {
		if matches, _ := rules.affinity.Match(n.Node); !matches {
			return false
		}
	}
	if ptr.Deref(t.NodeTaintsPolicy, corev1.NodeInclusionPolicyIgnore) == corev1.NodeInclusionPolicyHonor {
		return !rules.untolerated(n)
	}
	return true
}

// spreads refuses a node where a constraint would not hold, while the Pod that is to be replaced is there or when it is
// gone, and if all Pods come that are nominated to the node.
func (q *question) spreads(n *node) refusal {
	for _, constraint := range q.spread {
		value, ok := n.Labels[constraint.topologyKey]
		if !ok {
			return unevenSpread
		}
		more := constraint.self
		for _, p := range n.nominated {
			if p.Namespace == q.pod.Namespace && constraint.selector.Matches(labels.Set(p.Labels)) {
				more++
			}
		}
		for _, d := range []domains{constraint.there, constraint.gone} {
			if d.counts[value]+more-d.least > constraint.maxSkew {
				return unevenSpread
			}
		}
	}
	return ""
}
