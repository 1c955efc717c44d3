package fit

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// term is a required term of Pod affinity or anti-affinity. matchLabelKeys are in its selector: the API server adds
// them when the Pod is created.
type term struct {
	topologyKey string
	selector    labels.Selector
	// namespaces are those that it names. Whether a namespaceSelector adds others is not known, because the labels of
	// namespaces are not, except if it selects all.
	namespaces    []string
	everywhere    bool
	maybeAnywhere bool
}

func newTerm(t *corev1.PodAffinityTerm, pod *corev1.Pod) (term, error) {
	selector, err := metav1.LabelSelectorAsSelector(t.LabelSelector)
	if err != nil {
		return term{}, err
	}
	namespaces, err := metav1.LabelSelectorAsSelector(t.NamespaceSelector)
	if err != nil {
		return term{}, err
	}
	result := term{topologyKey: t.TopologyKey, selector: selector, namespaces: t.Namespaces}
	switch {
	case t.NamespaceSelector == nil && len(t.Namespaces) == 0:
		result.namespaces = []string{pod.Namespace}
	case t.NamespaceSelector != nil:
		result.everywhere, result.maybeAnywhere = namespaces.Empty(), true
	}
	return result, nil
}

// mayMatch reports whether the term matches the Pod, or could.
func (t *term) mayMatch(pod *corev1.Pod) bool {
	inNamespace := t.maybeAnywhere || slices.Contains(t.namespaces, pod.Namespace)
	return inNamespace && t.selector.Matches(labels.Set(pod.Labels))
}

// domain is a value of a topology key: the nodes that have it are one place.
type domain struct{ key, value string }

// existingTerm is an anti-affinity term of Pods, and where they are.
type existingTerm struct {
	term
	invalid bool
	domains map[domain]bool
}

// addAntiAffinity remembers the anti-affinity of a Pod that is on a node. Pods of one workload share the term, so there
// are about as many as there are workloads with one.
func (c *Cluster) addAntiAffinity(pod *corev1.Pod, n *node) {
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.PodAntiAffinity == nil {
		return
	}
	terms := pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	for i := range terms {
		key := pod.Namespace + "/" + terms[i].String()
		existing := c.antiAffinity[key]
		if existing == nil {
			parsed, err := newTerm(&terms[i], pod)
			existing = &existingTerm{term: parsed, invalid: err != nil, domains: map[domain]bool{}}
			c.antiAffinity[key] = existing
		}
		if value, ok := n.Labels[terms[i].TopologyKey]; ok {
			existing.domains[domain{terms[i].TopologyKey, value}] = true
		}
	}
}

// podAffinity says next to which Pods a Pod may and must not be (interpodaffinity/filtering.go).
type podAffinity struct {
	// apart are the domains where the Pod must not be: of Pods that it avoids, and of Pods that avoid it.
	apart map[domain]bool
	// required are the terms that one Pod in the domain must match.
	required []term
	// together are the domains with such a Pod, which stays there for certain.
	together map[domain]bool
	// alone means that no Pod in the cluster matches the terms but this one itself: then it may be anywhere.
	alone bool
}

func (c *Cluster) affinityOf(pod *corev1.Pod) (a podAffinity, why string) {
	const unreadable = "a rule of Pod affinity has a label selector that cannot be read"
	a.apart = map[domain]bool{}
	for _, existing := range c.antiAffinity {
		switch {
		case existing.invalid:
			return a, unreadable
		case existing.mayMatch(pod):
			for d := range existing.domains {
				a.apart[d] = true
			}
		}
	}
	if pod.Spec.Affinity == nil {
		return a, ""
	}
	if rules := pod.Spec.Affinity.PodAntiAffinity; rules != nil {
		for i := range rules.RequiredDuringSchedulingIgnoredDuringExecution {
			avoid, err := newTerm(&rules.RequiredDuringSchedulingIgnoredDuringExecution[i], pod)
			if err != nil {
				return a, unreadable
			}
			for p := range c.index().matching(avoid.selector) {
				if value, ok := p.node.Labels[avoid.topologyKey]; ok && avoid.mayMatch(p.Pod) {
					a.apart[domain{avoid.topologyKey, value}] = true
				}
			}
		}
	}
	if rules := pod.Spec.Affinity.PodAffinity; rules != nil {
		for i := range rules.RequiredDuringSchedulingIgnoredDuringExecution {
			near, err := newTerm(&rules.RequiredDuringSchedulingIgnoredDuringExecution[i], pod)
			switch {
			case err != nil:
				return a, unreadable
			case near.maybeAnywhere && !near.everywhere:
				return a, "Pod affinity with a namespaceSelector is not checked"
			}
			a.required = append(a.required, near)
		}
		c.findCompany(pod, &a)
	}
	return a, ""
}

// findCompany finds the Pods that all terms match. One that may go (it is terminating, only nominated, or the one that
// is to be replaced) attracts no other Pod for certain. But while it is there, the Pod is not alone.
func (c *Cluster) findCompany(pod *corev1.Pod, a *podAffinity) {
	if len(a.required) == 0 {
		return
	}
	matchesAll := func(p *corev1.Pod) bool {
		return !slices.ContainsFunc(a.required, func(t term) bool { return !t.mayMatch(p) })
	}
	a.together = map[domain]bool{}
	a.alone = matchesAll(pod)
	for p := range c.index().matching(a.required[0].selector) {
		if !matchesAll(p.Pod) {
			continue
		}
		a.alone = false
		if p.nominated || p.DeletionTimestamp != nil || p.UID == pod.UID {
			continue
		}
		for _, t := range a.required {
			if value, ok := p.node.Labels[t.topologyKey]; ok {
				a.together[domain{t.topologyKey, value}] = true
			}
		}
	}
}

func (a *podAffinity) check(n *node) refusal {
	if len(a.apart) > 0 {
		for key, value := range n.Labels {
			if a.apart[domain{key, value}] {
				return badNeighbours
			}
		}
	}
	for _, t := range a.required {
		value, ok := n.Labels[t.topologyKey]
		if !ok || !a.alone && !a.together[domain{t.topologyKey, value}] {
			return badNeighbours
		}
	}
	return ""
}
