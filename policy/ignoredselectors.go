package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// IgnoredSelectors are labels by which Pods select local nodes and which virtual nodes need not have
// (Config.IgnoredNodeSelectors). The zero value has none.
type IgnoredSelectors []ignoredLabel

// ignoredLabel is a label that virtual nodes count as having.
type ignoredLabel struct {
	key, value string
	// anyValue says that they count as having it with whatever value is selected.
	anyValue bool
}

// identityLabels say what a virtual node is. A Pod that selects another value cannot run there: it has the wrong
// processor or operating system, or it does not mean a virtual node of this cluster.
var identityLabels = []string{
	NodeTypeLabel, TrustedNodeLabel, CloudClusterKey, corev1.LabelOSStable, corev1.LabelArchStable,
}

// parseIgnoredSelectors reads entries that are "key=value", or a key for any value.
func parseIgnoredSelectors(path *field.Path, entries []string) (IgnoredSelectors, field.ErrorList) {
	var found IgnoredSelectors
	var errs field.ErrorList
	for i, entry := range entries {
		key, value, hasValue := strings.Cut(entry, "=")
		problems := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...)
		switch {
		case len(problems) > 0:
			errs = append(errs, field.Invalid(path.Index(i), entry,
				"must be a label of nodes, such as disktype=ssd, or only its key for any value: "+
					strings.Join(problems, "; ")))
		case slices.Contains(identityLabels, key):
			errs = append(errs, field.Forbidden(path.Index(i), fmt.Sprintf(
				"%s says what a virtual node is, and Pods that select another value cannot run there: remove the entry",
				key)))
		}
		found = append(found, ignoredLabel{key: key, value: value, anyValue: !hasValue})
	}
	return found, errs
}

// Ignore returns the Pod as the webhook creates it if it may burst: on local nodes everything that it selects holds as
// before, and on virtual nodes of Spillway the ignored labels do not. It returns the same Pod if that selects none of
// them, and never changes it. Ignoring them again changes nothing, also after other webhooks have added to the Pod.
//
// An ignored entry of nodeSelector becomes a requirement of the required node affinity. Its terms are alternatives, so
// each term with an ignored requirement gets a second one: the same without what is ignored, for virtual nodes of
// Spillway only. That uses TrustedNodeLabel, which no kubelet can give its own Node. It also leaves NodeTypeLabel to
// what the webhook adds for Pods that must run on virtual nodes or must not: both apply to every term, and no local
// node ever matches the second one.
func (s IgnoredSelectors) Ignore(pod *corev1.Pod) *corev1.Pod {
	if !s.concern(&pod.Spec) {
		return pod
	}
	out := pod.DeepCopy()
	s.rewrite(&out.Spec)
	return out
}

// concern reports whether a Pod selects an ignored label.
func (s IgnoredSelectors) concern(spec *corev1.PodSpec) bool {
	for key, value := range spec.NodeSelector {
		if s.contain(selectorEntry(key, value)) {
			return true
		}
	}
	required := requiredNodeAffinity(spec)
	return required != nil && slices.ContainsFunc(required.NodeSelectorTerms, s.concernTerm)
}

func (s IgnoredSelectors) concernTerm(term corev1.NodeSelectorTerm) bool {
	return slices.ContainsFunc(term.MatchExpressions, s.contain)
}

// contain reports whether a node does not meet a requirement because it lacks an ignored label. A node without the
// label meets NotIn and DoesNotExist: they stay as they are.
func (s IgnoredSelectors) contain(r corev1.NodeSelectorRequirement) bool {
	return slices.ContainsFunc(s, func(label ignoredLabel) bool {
		if label.key != r.Key || meets(nil, r) {
			return false
		}
		return label.anyValue || meets(map[string]string{label.key: label.value}, r)
	})
}

func (s IgnoredSelectors) rewrite(spec *corev1.PodSpec) {
	s.moveToAffinity(spec)
	required := requiredNodeAffinity(spec)
	if required == nil {
		return
	}
	terms := required.NodeSelectorTerms
	present := map[string]bool{}
	for i := range terms {
		if slices.ContainsFunc(terms[i].MatchExpressions, isOurNodeOnly) {
			terms[i] = s.without(terms[i])
			present[keyOf(terms[i])] = true
		}
	}
	for _, term := range slices.Clone(terms) {
		if !s.concernTerm(term) {
			continue
		}
		cloud := s.without(term)
		cloud.MatchExpressions = append(cloud.MatchExpressions, ourNodeOnly())
		if key := keyOf(cloud); !present[key] {
			present[key] = true
			terms = append(terms, cloud)
		}
	}
	required.NodeSelectorTerms = terms
}

// moveToAffinity moves the ignored entries of nodeSelector to every term of the required node affinity. A term without
// requirements matches no node, so it stays empty.
func (s IgnoredSelectors) moveToAffinity(spec *corev1.PodSpec) {
	var moved []corev1.NodeSelectorRequirement
	for _, key := range slices.Sorted(maps.Keys(spec.NodeSelector)) {
		if r := selectorEntry(key, spec.NodeSelector[key]); s.contain(r) {
			moved = append(moved, r)
			delete(spec.NodeSelector, key)
		}
	}
	if len(moved) == 0 {
		return
	}
	if len(spec.NodeSelector) == 0 {
		spec.NodeSelector = nil
	}
	required, created := RequireNodeAffinity(spec)
	if created {
		required.NodeSelectorTerms = []corev1.NodeSelectorTerm{{MatchExpressions: moved}}
		return
	}
	for i := range required.NodeSelectorTerms {
		if term := &required.NodeSelectorTerms[i]; !IsEmptyTerm(term) {
			term.MatchExpressions = append(term.MatchExpressions, moved...)
		}
	}
}

// without returns a term without the ignored requirements.
func (s IgnoredSelectors) without(term corev1.NodeSelectorTerm) corev1.NodeSelectorTerm {
	out := *term.DeepCopy()
	out.MatchExpressions = slices.DeleteFunc(out.MatchExpressions, s.contain)
	return out
}

// selectorEntry returns the requirement that an entry of nodeSelector means.
func selectorEntry(key, value string) corev1.NodeSelectorRequirement {
	return corev1.NodeSelectorRequirement{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{value}}
}

func ourNodeOnly() corev1.NodeSelectorRequirement {
	return selectorEntry(TrustedNodeLabel, TrustedNodeValue)
}

func isOurNodeOnly(r corev1.NodeSelectorRequirement) bool {
	return r.Key == TrustedNodeLabel && r.Operator == corev1.NodeSelectorOpIn &&
		slices.Equal(r.Values, []string{TrustedNodeValue})
}

// keyOf returns the same text for terms with the same requirements in any order: other webhooks may add requirements to
// both alternatives. A Pod may have thousands of terms.
func keyOf(term corev1.NodeSelectorTerm) string {
	var parts []string
	for kind, list := range [][]corev1.NodeSelectorRequirement{term.MatchExpressions, term.MatchFields} {
		for _, r := range list {
			parts = append(parts, fmt.Sprintf("%d %q %s %q", kind, r.Key, r.Operator, r.Values))
		}
	}
	slices.Sort(parts)
	return strings.Join(slices.Compact(parts), ",")
}
