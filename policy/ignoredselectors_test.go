package policy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/policy"
)

func ignoring(t testing.TB, entries ...string) *policy.Policy {
	t.Helper()
	config := policy.DefaultConfig()
	config.IgnoredNodeSelectors = entries
	p, err := policy.New(config)
	require.NoError(t, err)
	return p
}

func TestIgnoredSelectorsThatAreNoLabelsOfNodesAreRejected(t *testing.T) {
	const right = "must be a label of nodes, such as disktype=ssd, or only its key for any value"
	for entry, want := range map[string]string{
		"disktype=ssd":                  "",
		"disktype":                      "",
		"disktype=":                     "", // The label without a value.
		"example.com/pool=fast":         "",
		"topology.kubernetes.io/zone=a": "",
		"":                              right,
		"=ssd":                          right,
		"disktype==ssd":                 right,
		"disktype=ssd,hdd":              right,
		"disktype in (ssd)":             right,
		"!disktype":                     right,
		"type=machine":                  "type says what a virtual node is",
		"kubernetes.io/arch":            "kubernetes.io/arch says what a virtual node is",
		"kubernetes.io/os=windows":      "kubernetes.io/os says what a virtual node is",
		policy.CloudClusterKey:          policy.CloudClusterKey + " says what a virtual node is",
		policy.TrustedNodeLabel:         policy.TrustedNodeLabel + " says what a virtual node is",
	} {
		t.Run(fmt.Sprintf("%q", entry), func(t *testing.T) {
			config := policy.DefaultConfig()
			config.IgnoredNodeSelectors = []string{"pool", entry}
			errs := config.Validate(field.NewPath("policy"))
			_, err := policy.New(config)
			if want == "" {
				assert.Empty(t, errs)
				assert.NoError(t, err)
				return
			}
			require.Len(t, errs, 1)
			assert.Equal(t, "policy.ignoredNodeSelectors[1]", errs[0].Field)
			assert.Contains(t, errs[0].Error(), want)
			assert.Error(t, err)
		})
	}
}

func TestIgnoredSelectorsBecomeAlternatives(t *testing.T) {
	const virtual = `{key: node-restriction.kubernetes.io/spillway, operator: In, values: [virtual-node]}`
	const ssd = `{key: disktype, operator: In, values: [ssd]}`
	terms := func(terms ...string) string {
		return "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [" +
			strings.Join(terms, ", ") + "]}}}"
	}
	all := func(requirements ...string) string {
		return "{matchExpressions: [" + strings.Join(requirements, ", ") + "]}"
	}
	for name, test := range map[string]struct{ pod, want string }{
		"an entry of nodeSelector": {
			`nodeSelector: {disktype: ssd}`, terms(all(ssd), all(virtual)),
		},
		"an entry of several": {
			`nodeSelector: {disktype: ssd, team: web}`,
			`{nodeSelector: {team: web}, ` + terms(all(ssd), all(virtual)) + `}`,
		},
		"an entry with another value": {
			`nodeSelector: {disktype: hdd}`, `nodeSelector: {disktype: hdd}`,
		},
		"an entry with any value": {
			`nodeSelector: {pool: fast}`, terms(all(`{key: pool, operator: In, values: [fast]}`), all(virtual)),
		},
		"a requirement": {
			terms(all(ssd, `{key: team, operator: Exists}`)),
			terms(all(ssd, `{key: team, operator: Exists}`), all(`{key: team, operator: Exists}`, virtual)),
		},
		"a requirement that the value meets": {
			terms(all(`{key: disktype, operator: In, values: [hdd, ssd]}`)),
			terms(all(`{key: disktype, operator: In, values: [hdd, ssd]}`), all(virtual)),
		},
		"a requirement that a node without the label meets": {
			terms(all(`{key: disktype, operator: NotIn, values: [ssd]}`, `{key: pool, operator: DoesNotExist}`)),
			terms(all(`{key: disktype, operator: NotIn, values: [ssd]}`, `{key: pool, operator: DoesNotExist}`)),
		},
		"a number": {
			terms(all(`{key: generation, operator: Gt, values: ["3"]}`)),
			terms(all(`{key: generation, operator: Gt, values: ["3"]}`), all(virtual)),
		},
		"a number that is too small": {
			terms(all(`{key: generation, operator: Lt, values: ["3"]}`)),
			terms(all(`{key: generation, operator: Lt, values: ["3"]}`)),
		},
		"both, and a term that matches nothing": {
			`{nodeSelector: {disktype: ssd}, ` + terms(`{}`, all(`{key: pool, operator: Exists}`)) + `}`,
			terms(`{}`, all(`{key: pool, operator: Exists}`, ssd), all(virtual)),
		},
		"a term for virtual nodes of Spillway": {
			terms(all(ssd, virtual)), terms(all(virtual)),
		},
		"an alternative that is there already": {
			terms(all(ssd, `{key: team, operator: Exists}`), all(virtual, `{key: team, operator: Exists}`)),
			terms(all(ssd, `{key: team, operator: Exists}`), all(virtual, `{key: team, operator: Exists}`)),
		},
		"the name of a node": {
			terms(`{matchFields: [{key: metadata.name, operator: In, values: [local-1]}]}`),
			terms(`{matchFields: [{key: metadata.name, operator: In, values: [local-1]}]}`),
		},
	} {
		t.Run(name, func(t *testing.T) {
			var pod, want corev1.Pod
			require.NoError(t, yaml.UnmarshalStrict([]byte(test.pod), &pod.Spec))
			require.NoError(t, yaml.UnmarshalStrict([]byte(test.want), &want.Spec))
			got := ignoring(t, "disktype=ssd", "pool", "generation=5").IgnoredSelectors().Ignore(&pod)
			assert.Equal(t, want, *got)
		})
	}
}

func TestAPodThatWasNotPreparedMustBeRecreated(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{NodeSelector: map[string]string{"disktype": "ssd"}}}
	in := policy.Input{Pod: pod, Nodes: []policy.VirtualNode{{Name: "virtual-0", Labels: policy.VirtualNodeLabels()}}}
	p := ignoring(t, "disktype=ssd")

	found := p.Restrictions(in)
	require.Len(t, found, 1)
	assert.Equal(t, policy.ReasonNodeSelector, found[0].Reason)
	assert.Contains(t, found[0].Message, "recreate the Pod")

	in.Pod = p.IgnoredSelectors().Ignore(pod)
	assert.Empty(t, p.Restrictions(in))

	pod.Spec.NodeSelector["team"] = "web" // Recreating the Pod would not help.
	in.Pod = pod
	found = p.Restrictions(in)
	require.NotEmpty(t, found)
	assert.NotContains(t, found[0].Message, "recreate the Pod")
}

// TestLocalNodesFitAsBefore compares random Pods with what they become, on random nodes, by an oracle that follows the
// documentation of node affinity and knows nothing of terms that are added.
func TestLocalNodesFitAsBefore(t *testing.T) {
	var changed, fitLocal, fitOnlyIgnored int
	for seed := range uint64(5000) {
		random := rand.New(rand.NewPCG(seed, 0))
		entries := randomEntries(random)
		selectors := ignoring(t, entries...).IgnoredSelectors()
		pod := randomSelection(random)
		before := pod.DeepCopy()

		out := selectors.Ignore(pod)

		require.Equal(t, before, pod, "seed %d: the Pod itself stays as it is", seed)
		require.Equal(t, out, selectors.Ignore(out), "seed %d: twice is once", seed)
		if out != pod {
			changed++
		}
		for range 4 {
			labels := randomLabels(random)
			fits := selectsNode(before, "n", labels, nil)
			require.Equal(t, fits, selectsNode(out, "n", labels, nil), "seed %d: local node %v", seed, labels)
			if fits {
				fitLocal++
			}
			for key, value := range policy.VirtualNodeLabels() {
				labels[key] = value
			}
			ignores := selectsNode(before, "n", labels, entries)
			require.Equal(t, ignores, selectsNode(out, "n", labels, nil), "seed %d: virtual node %v", seed, labels)
			if ignores && !selectsNode(before, "n", labels, nil) {
				fitOnlyIgnored++
			}
		}
	}
	for what, count := range map[string]int{
		"Pods that change": changed, "local nodes that fit": fitLocal, "virtual nodes that fit": fitOnlyIgnored,
	} {
		assert.Greater(t, count, 300, "%s were hardly tried", what)
	}
}

func randomEntries(random *rand.Rand) []string {
	var entries []string
	for _, entry := range []string{"disk=a", "disk=b", "disk", "pool=1", "pool=3", "team", "team="} {
		if random.IntN(4) == 0 {
			entries = append(entries, entry)
		}
	}
	return entries
}

func randomLabels(random *rand.Rand) map[string]string {
	labels := map[string]string{}
	for _, label := range [][]string{
		{"disk", "a", "b", "c"}, {"pool", "1", "2", "3"}, {"team", "", "a"}, {policy.NodeTypeLabel, policy.NodeTypeVirtual},
	} {
		if n := random.IntN(len(label)); n > 0 {
			labels[label[0]] = label[n]
		}
	}
	return labels
}

// randomSelection returns a Pod that selects nodes, also by labels of virtual nodes.
func randomSelection(random *rand.Rand) *corev1.Pod {
	pod := &corev1.Pod{}
	if random.IntN(2) == 0 {
		pod.Spec.NodeSelector = randomLabels(random)
	}
	if random.IntN(3) == 0 {
		return pod
	}
	required := &corev1.NodeSelector{}
	for range 1 + random.IntN(3) {
		var term corev1.NodeSelectorTerm
		for range random.IntN(4) {
			term.MatchExpressions = append(term.MatchExpressions, randomRequirement(random))
		}
		if random.IntN(6) == 0 {
			operator := []corev1.NodeSelectorOperator{corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn}[random.IntN(2)]
			term.MatchFields = []corev1.NodeSelectorRequirement{
				{Key: metav1.ObjectNameField, Operator: operator, Values: []string{"n"}},
			}
		}
		required.NodeSelectorTerms = append(required.NodeSelectorTerms, term)
	}
	pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: required,
	}}
	return pod
}

func randomRequirement(random *rand.Rand) corev1.NodeSelectorRequirement {
	if random.IntN(8) == 0 {
		return corev1.NodeSelectorRequirement{
			Key: policy.TrustedNodeLabel, Operator: corev1.NodeSelectorOpIn, Values: []string{policy.TrustedNodeValue},
		}
	}
	r := corev1.NodeSelectorRequirement{
		Key: []string{"disk", "pool", "team", policy.NodeTypeLabel}[random.IntN(4)],
		Operator: []corev1.NodeSelectorOperator{
			corev1.NodeSelectorOpIn, corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn, corev1.NodeSelectorOpExists,
			corev1.NodeSelectorOpDoesNotExist, corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt,
		}[random.IntN(7)],
	}
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		all := []string{"a", "b", "c", "1", "2", "3", "", policy.NodeTypeVirtual}
		r.Values = []string{all[random.IntN(len(all))], all[random.IntN(len(all))]}
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		r.Values = []string{fmt.Sprint(random.IntN(4))}
	}
	return r
}

// selectsNode decides by hand whether a Pod may be on a node. Each requirement that selects an ignored label counts as
// met.
func selectsNode(pod *corev1.Pod, name string, labels map[string]string, ignored []string) bool {
	for key, value := range pod.Spec.NodeSelector {
		r := corev1.NodeSelectorRequirement{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{value}}
		if !isMet(r, labels) && !isIgnored(r, ignored) {
			return false
		}
	}
	if pod.Spec.Affinity == nil {
		return true
	}
	for _, term := range pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		matches := len(term.MatchExpressions)+len(term.MatchFields) > 0
		for _, r := range term.MatchExpressions {
			matches = matches && (isMet(r, labels) || isIgnored(r, ignored))
		}
		for _, r := range term.MatchFields {
			matches = matches && isMet(r, map[string]string{metav1.ObjectNameField: name})
		}
		if matches {
			return true
		}
	}
	return false
}

func isIgnored(r corev1.NodeSelectorRequirement, ignored []string) bool {
	if r.Operator == corev1.NodeSelectorOpNotIn || r.Operator == corev1.NodeSelectorOpDoesNotExist {
		return false
	}
	return slices.ContainsFunc(ignored, func(entry string) bool {
		key, value, one := strings.Cut(entry, "=")
		return key == r.Key && (!one || isMet(r, map[string]string{key: value}))
	})
}

func isMet(r corev1.NodeSelectorRequirement, labels map[string]string) bool {
	value, has := labels[r.Key]
	number, limit := -1, -1
	fmt.Sscan(value, &number)
	if len(r.Values) > 0 {
		fmt.Sscan(r.Values[0], &limit)
	}
	switch r.Operator {
	case corev1.NodeSelectorOpIn:
		return has && slices.Contains(r.Values, value)
	case corev1.NodeSelectorOpNotIn:
		return !has || !slices.Contains(r.Values, value)
	case corev1.NodeSelectorOpExists:
		return has
	case corev1.NodeSelectorOpDoesNotExist:
		return !has
	case corev1.NodeSelectorOpGt:
		return number >= 0 && number > limit
	case corev1.NodeSelectorOpLt:
		return number >= 0 && number < limit
	}
	return false
}
