package webhook

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/evaluation"
	"github.com/spillway-k8s/spillway/policy"
)

// TestMutatePreservesItsInvariants reviews random Pods with every combination of what the webhook reads.
func TestMutatePreservesItsInvariants(t *testing.T) {
	for seed := range uint64(2000) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			w, pod := randomWorld(random), randomPod(random)
			evaluator, h := w.evaluator(t), w.handler(t)
			prepared := pod
			if isSchedulable(pod) {
				prepared = w.policy(t).IgnoredSelectors().Ignore(pod)
			}
			v, err := evaluator.Evaluate(t.Context(), prepared)
			require.NoError(t, err)
			raw, err := json.Marshal(pod)
			require.NoError(t, err)

			_, once := ask(t, h, raw)
			again, twice := ask(t, h, once)

			assert.Nil(t, again.Patch, "a second review changes nothing")
			assert.JSONEq(t, string(once), string(twice))
			var out corev1.Pod
			require.NoError(t, json.Unmarshal(once, &out))
			evaluated := withoutAdded(&out)
			if isSchedulable(pod) {
				evaluated = w.policy(t).IgnoredSelectors().Ignore(evaluated)
			}
			after, err := evaluator.Evaluate(t.Context(), evaluated)
			require.NoError(t, err)
			assert.Equal(t, v.Placement, after.Placement, "the decision about the Pod stays the same")
			if v.Off {
				assert.False(t, v.MayBurst(), "a Pod that is malformed or off never bursts")
			}
			mayStay := v.MayBurst() || !policy.ToleratesProvider(&pod.Spec)
			checkNodes(t, pod, &out, v)
			if isSchedulable(pod) && !v.Managed && v.MayBurst() {
				assert.Equal(t, prepared.Spec, out.Spec, "an unmanaged Pod that may burst may ignore selectors")
				out.Spec = pod.Spec
				once, err = json.Marshal(&out)
				require.NoError(t, err)
			}
			if !isSchedulable(pod) {
				assert.JSONEq(t, string(raw), string(once), "a Pod that is not scheduled stays unchanged")
				return
			}
			own := checkInherited(t, pod, &out, w)
			if !v.Managed && mayStay {
				assert.Equal(t, own, userAnnotations(&out), "an unmanaged Pod stays unchanged otherwise")
				out.Annotations = pod.Annotations
				once, err = json.Marshal(&out)
				require.NoError(t, err)
				assert.JSONEq(t, string(raw), string(once), "an unmanaged Pod stays unchanged otherwise")
				return
			}
			if !v.Managed {
				assert.Equal(t, own, userAnnotations(&out))
				kept := pod.DeepCopy()
				requireNodeType(&kept.Spec, corev1.NodeSelectorOpNotIn)
				assert.Equal(t, kept.Spec, out.Spec,
					"an unmanaged Pod that tolerates virtual nodes and may not burst stays local")
				return
			}
			checkManaged(t, pod, &out, v, w)
		})
	}
}

// checkInherited checks that a Pod has what its owner says and it does not say itself, and nothing that another owner
// has said. It returns the annotations that are its own.
func checkInherited(t *testing.T, in, out *corev1.Pod, w world) (own map[string]string) {
	t.Helper()
	copied := strings.Split(in.Annotations[policy.InheritedAnnotation], ",")
	own = map[string]string{}
	for key, value := range in.Annotations {
		inherits := slices.Contains(policy.InheritedAnnotations(), key)
		if key != policy.InheritedAnnotation && !(inherits && slices.Contains(copied, key)) {
			own[key] = value
		}
	}
	var want []string
	for _, key := range policy.InheritedAnnotations() {
		value, ok := own[key]
		if said, inherits := w.WorkloadAnnotations[key]; !ok && inherits {
			value, ok = said, true
			want = append(want, key)
		}
		got, has := out.Annotations[key]
		assert.Equal(t, ok, has, key)
		assert.Equal(t, value, got, key)
	}
	assert.Equal(t, strings.Join(want, ","), out.Annotations[policy.InheritedAnnotation])
	values := policy.Inherit(out.Annotations, nil, w.NamespaceAnnotations)
	assert.Equal(t, policy.Inherit(in.Annotations, notNil(w.WorkloadAnnotations), w.NamespaceAnnotations), values,
		"the extender, which does not know the owner, reads what admission has read")
	return own
}

func notNil(annotations map[string]string) map[string]string {
	if annotations == nil {
		return map[string]string{}
	}
	return annotations
}

// userAnnotations returns the annotations of a Pod without what admission adds.
func userAnnotations(pod *corev1.Pod) map[string]string {
	own := map[string]string{}
	copied := strings.Split(pod.Annotations[policy.InheritedAnnotation], ",")
	for key, value := range pod.Annotations {
		if !slices.Contains(policy.WrittenAnnotations(), key) && !slices.Contains(copied, key) {
			own[key] = value
		}
	}
	return own
}

// checkNodes checks on which nodes a Pod fits that the webhook has changed.
func checkNodes(t *testing.T, in, out *corev1.Pod, v evaluation.Result) {
	ours := policy.VirtualNode{Name: "virtual-1", Labels: policy.VirtualNodeLabels()}
	if isSchedulable(in) && v.Forbidden() && policy.ToleratesProvider(&out.Spec) {
		assert.False(t, fits(t, out, ours), "a Pod that may not burst fits on no virtual node")
	}
	for _, labels := range []map[string]string{
		{}, {"disktype": "ssd"}, {"zone": "a"}, {"zone": "b", "disktype": "hdd"}, {"zone": "b", "disktype": "ssd"},
	} {
		local := policy.VirtualNode{Name: "local-1", Labels: labels}
		enforced := in.Annotations[policy.AddedAffinityAnnotation] == "" &&
			out.Annotations[policy.AddedAffinityAnnotation] == string(corev1.NodeSelectorOpIn)
		assert.Equal(t, !enforced && fits(t, in, local), fits(t, out, local),
			"on a local node with the labels %v", labels)
	}
}

// fits reports whether the selectors of a Pod match a node.
func fits(t *testing.T, pod *corev1.Pod, node policy.VirtualNode) bool {
	t.Helper()
	found := world{}.policy(t).Restrictions(policy.Input{Pod: pod, Nodes: []policy.VirtualNode{node}})
	return !slices.ContainsFunc(found, func(v policy.Violation) bool { return v.Reason == policy.ReasonNodeSelector })
}

func checkManaged(t *testing.T, in, out *corev1.Pod, v evaluation.Result, w world) {
	named, s := in.Spec.SchedulerName, w.schedulers()
	calls := named == w.Scheduler || slices.Contains(w.OtherSchedulers, named) ||
		named == "" || named == corev1.DefaultSchedulerName
	assert.Equal(t, calls && !v.Off && !w.EveryPod, policy.NeedsPlacement(&out.Spec),
		"a Pod that is not off has the marker if its scheduler needs it, and no other scheduler sees it")
	if !v.Off {
		assert.Equal(t, calls, s.Place(&out.Spec), "the extender places every Pod, unless another scheduler does")
	}
	if !calls {
		assert.Equal(t, named, out.Spec.SchedulerName, "a Pod keeps the scheduler that it names")
	}
	bursts := v.MayBurst() && (calls || v.Placement == policy.PlacementCloudOnly && !v.NeedsExtender())
	assert.Equal(t, bursts || policy.ToleratesProvider(&in.Spec), policy.ToleratesProvider(&out.Spec))
	require.GreaterOrEqual(t, len(out.Spec.Tolerations), len(in.Spec.Tolerations))
	for i, toleration := range in.Spec.Tolerations {
		assert.Equal(t, toleration, out.Spec.Tolerations[i], "the tolerations of the user stay")
	}
	explanation, explained := out.Annotations[policy.KeptLocalAnnotation]
	assert.Equal(t, v.StaysLocal(), explained)
	if explained {
		assert.Equal(t, string(v.Reason)+": "+v.Message, explanation)
	}
	assert.Equal(t, checkInherited(t, in, out, w), userAnnotations(out), "the annotations of the user stay")
	for key, value := range in.Labels {
		assert.Equal(t, value, out.Labels[key], "the labels of the user stay")
	}
	mounted := map[string]bool{}
	for _, v := range out.Spec.Volumes {
		mounted[v.Name] = true
	}
	for _, c := range out.Spec.Containers {
		for _, m := range c.VolumeMounts {
			assert.True(t, mounted[m.Name], "every mount has its volume")
		}
	}
}

// The API server calls the webhook again if a webhook that runs later has changed the Pod. Meanwhile the switch and the
// labels of the workload may have changed too.
func TestASecondReviewFollowsWhatChangedSinceTheFirst(t *testing.T) {
	placements := map[policy.Placement]map[policy.Placement]bool{}
	for seed := range uint64(3000) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 2))
			original, before, after := randomPod(random), randomWorld(random), randomWorld(random)
			after.Ignored = before.Ignored // The configuration changes with a restart only.
			h := before.handler(t)
			raw, err := json.Marshal(original)
			require.NoError(t, err)
			_, first := ask(t, h, raw)
			changed := podFrom(t, first)
			changeLater(random, changed)
			raw, err = json.Marshal(changed)
			require.NoError(t, err)

			h = after.handler(t)
			_, second := ask(t, h, raw)
			again, _ := ask(t, h, second)

			assert.Nil(t, again.Patch, "a third review changes nothing")
			out := podFrom(t, second)
			for _, term := range requiredTerms(out) {
				in, notIn := has(term, corev1.NodeSelectorOpIn), has(term, corev1.NodeSelectorOpNotIn)
				assert.False(t, in && notIn, "no node can match the Pod: %+v", term)
			}
			if !isSchedulable(changed) {
				return
			}
			subject := after.policy(t).IgnoredSelectors().Ignore(withoutAdded(out))
			result, err := after.evaluator(t).Evaluate(t.Context(), subject)
			require.NoError(t, err)
			if reflect.DeepEqual(changed.Spec.Affinity, podFrom(t, first).Spec.Affinity) {
				checkNodes(t, original, out, result)
			}
			if placements[podPlacement(t, before, original)] == nil {
				placements[podPlacement(t, before, original)] = map[policy.Placement]bool{}
			}
			placements[podPlacement(t, before, original)][result.Placement] = true
			uncounted := result.NeedsExtender() && !after.schedulers().Call(changed.Spec.SchedulerName)
			kept := uncounted && policy.ToleratesProvider(&out.Spec)
			for _, term := range requiredTerms(out) {
				if policy.IsEmptyTerm(&term) {
					continue
				}
				if kept {
					assert.True(t, has(term, corev1.NodeSelectorOpNotIn), "nothing counts the Pod: %+v", term)
					continue
				}
				if result.Placement == policy.PlacementCloudOnly && !uncounted {
					assert.True(t, has(term, corev1.NodeSelectorOpIn), "the Pod runs on virtual nodes only: %+v", term)
				}
				if result.Forbidden() && policy.ToleratesProvider(&out.Spec) {
					assert.True(t, has(term, corev1.NodeSelectorOpNotIn), "the Pod runs on local nodes only: %+v", term)
				}
				if result.Placement != policy.PlacementCloudOnly && result.MayBurst() {
					assert.False(t, has(term, corev1.NodeSelectorOpIn) || has(term, corev1.NodeSelectorOpNotIn),
						"the Pod may run on all nodes: %+v", term)
				}
			}
		})
	}
	for _, from := range []policy.Placement{
		policy.PlacementCloudOnly, policy.PlacementLocalOnly, policy.PlacementLocalFirst,
	} {
		assert.Len(t, placements[from], 4, "the seeds have each change from %s to another placement", from)
	}
}

// changeLater changes a Pod as webhooks of others may.
func changeLater(random *rand.Rand, pod *corev1.Pod) {
	other := randomPod(random)
	if random.IntN(2) == 0 {
		pod.Labels = other.Labels
	}
	if random.IntN(2) == 0 {
		added, ok := pod.Annotations[policy.AddedAffinityAnnotation]
		if pod.Annotations = other.Annotations; ok {
			metav1.SetMetaDataAnnotation(&pod.ObjectMeta, policy.AddedAffinityAnnotation, added)
		}
	}
	if random.IntN(3) == 0 {
		pod.Spec.HostNetwork = other.Spec.HostNetwork
	}
	if random.IntN(3) == 0 {
		pod.Spec.Tolerations = other.Spec.Tolerations
	}
	if random.IntN(4) == 0 {
		pod.Spec.Affinity = other.Spec.Affinity
	}
}

func podFrom(t *testing.T, raw []byte) *corev1.Pod {
	t.Helper()
	var pod corev1.Pod
	require.NoError(t, json.Unmarshal(raw, &pod))
	return &pod
}

func podPlacement(t *testing.T, w world, pod *corev1.Pod) policy.Placement {
	t.Helper()
	result, err := w.evaluator(t).Evaluate(t.Context(), pod)
	require.NoError(t, err)
	return result.Placement
}

func requiredTerms(pod *corev1.Pod) []corev1.NodeSelectorTerm {
	affinity := pod.Spec.Affinity
	if affinity == nil || affinity.NodeAffinity == nil {
		return nil
	}
	required := affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil {
		return nil
	}
	return required.NodeSelectorTerms
}

func has(term corev1.NodeSelectorTerm, operator corev1.NodeSelectorOperator) bool {
	return slices.ContainsFunc(term.MatchExpressions, equal(nodeType(operator)))
}

func TestARequirementThatAUserWroteStays(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"team": "shop"}}}
	requireNodeType(&pod.Spec, corev1.NodeSelectorOpNotIn)
	before := pod.DeepCopy()

	requireAndRecord(pod, corev1.NodeSelectorOpNotIn)

	assert.Equal(t, before, pod, "it was there already")
	assert.Equal(t, before, withoutAdded(pod))
}

func pick[T any](random *rand.Rand, of ...T) T { return of[random.IntN(len(of))] }

// some returns a random subset of the keys, each with one of its values.
func some(random *rand.Rand, of map[string][]string) map[string]string {
	var found map[string]string
	for _, key := range []string{
		policy.BurstLabel, policy.BurstLabelAlias, policy.NamespaceEnforceLabel, policy.LocalReplicasAnnotation,
		policy.SwitchKey, policy.HostPathReplacementAnnotation, policy.CloudMaxAnnotation, policy.BurstAfterAnnotation,
		policy.InheritedAnnotation, "app",
	} {
		if values := of[key]; len(values) > 0 && random.IntN(3) == 0 {
			if found == nil {
				found = map[string]string{}
			}
			found[key] = pick(random, values...)
		}
	}
	return found
}

var modes = []string{"enforce", "localPrefer", "auto", "off", "always"}

func randomWorld(random *rand.Rand) world {
	return world{
		Scheduler:       pick(random, "", "bursting"),
		OtherSchedulers: pick(random, nil, []string{"tke-scheduler"}),
		EveryPod:        pick(random, false, true),
		Switch:          pick(random, "", "true", "false", "maybe"),
		ClaimKinds: pick(random, nil,
			map[string]string{"data": "nas.csi.everest.io"}, map[string]string{"data": "local"}),
		WorkloadLabels: some(random, map[string][]string{
			policy.BurstLabel: modes, policy.BurstLabelAlias: modes, "app": {"web"},
		}),
		WorkloadAnnotations: pick(random, nil, some(random, map[string][]string{
			policy.LocalReplicasAnnotation: {"2", "50%", "few"}, policy.CloudMaxAnnotation: {"1", "50%"},
			policy.BurstAfterAnnotation: {"90s"},
		})),
		NamespaceAnnotations: pick(random, nil, nil, some(random, map[string][]string{
			policy.LocalReplicasAnnotation: {"1"}, policy.CloudMaxAnnotation: {"0", "none"},
		})),
		NamespaceLabels: some(random, map[string][]string{policy.NamespaceEnforceLabel: {"enabled", "disabled"}}),
		Nodes: pick(random, nil, []policy.VirtualNode{{Name: "virtual-0", Labels: policy.VirtualNodeLabels()}},
			[]policy.VirtualNode{{Name: "virtual-0", Labels: map[string]string{
				policy.NodeTypeLabel: policy.NodeTypeVirtual, policy.TrustedNodeLabel: policy.TrustedNodeValue,
				"zone": "a", "disktype": "ssd",
			}}}),
		Ignored: pick(random, nil, []string{"disktype=ssd"}, []string{"disktype", "zone=a"}),
	}
}

func randomPod(random *rand.Rand) *corev1.Pod {
	pod := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{
		Name: "web", Namespace: "shop",
		Labels: some(random, map[string][]string{
			policy.BurstLabel: modes, policy.BurstLabelAlias: modes, "app": {"web"},
		}),
		Annotations: some(random, map[string][]string{
			policy.LocalReplicasAnnotation: {"0", "3", "many", ""},
			policy.CloudMaxAnnotation:      {"50%"},
			policy.BurstAfterAnnotation:    {"5s", "later"},
			policy.InheritedAnnotation: { // A copied manifest has it.
				policy.LocalReplicasAnnotation, policy.CloudMaxAnnotation + "," + policy.BurstAfterAnnotation, "", "x",
			},
			policy.SwitchKey: {"true", "false", "yes"},
			policy.HostPathReplacementAnnotation: {
				`[{"name":"*","policyType":"remove"}]`, `[{"name":"logs","policyType":"replaceByEmptyDir"}]`,
				`[{"name":"logs","policyType":"replaceByEmptyDir","emptyDir":{"sizeLimit":"10Gi"}},` +
					`{"name":"time","policyType":"remove"}]`, `[{}]`, `{`,
			},
		}),
	}}
	if kind := pick(random, "", "ReplicaSet", "DaemonSet"); kind != "" {
		pod.OwnerReferences = []metav1.OwnerReference{
			{APIVersion: "apps/v1", Kind: kind, Name: "o", UID: "1", Controller: new(true)},
		}
	}
	pod.Spec.SchedulerName = pick(random, "", "", "default-scheduler", "bursting", "tke-scheduler", "volcano")
	pod.Spec.NodeName = pick(random, "", "", "", "local-1")
	pod.Spec.HostNetwork = pick(random, false, false, false, true)
	pod.Spec.Tolerations = pick(random, nil, []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		[]corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists}},
		[]corev1.Toleration{policy.ProviderToleration()})
	pod.Spec.Affinity = randomAffinity(random)
	pod.Spec.NodeSelector = pick(random, nil, nil, nil, map[string]string{"disktype": "ssd"})
	for _, name := range []string{"logs", "time", "data"} {
		if random.IntN(3) > 0 {
			continue
		}
		source := map[string]corev1.VolumeSource{
			"logs": {HostPath: &corev1.HostPathVolumeSource{Path: "/var/log"}},
			"time": {HostPath: &corev1.HostPathVolumeSource{Path: policy.LocaltimePath}},
			"data": {PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}},
		}[name]
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
	}
	for i := range random.IntN(3) {
		c := corev1.Container{Name: fmt.Sprint("c", i)}
		for _, v := range pod.Spec.Volumes {
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: v.Name, MountPath: "/" + v.Name})
		}
		pod.Spec.Containers = append(pod.Spec.Containers, c)
	}
	if len(pod.Spec.Containers) == 0 {
		pod.Spec.Containers = []corev1.Container{{Name: "only"}}
	}
	return pod
}

func randomAffinity(random *rand.Rand) *corev1.Affinity {
	term := corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
		{Key: "zone", Operator: corev1.NodeSelectorOpExists},
	}}
	required := &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term, {}, *term.DeepCopy()}}
	return pick(random, nil, nil, &corev1.Affinity{}, &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{}},
		&corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: required}})
}
