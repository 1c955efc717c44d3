package placement_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/extender/leadership"
	"github.com/spillway-k8s/spillway/extender/nodes"
	"github.com/spillway-k8s/spillway/extender/placement"
	"github.com/spillway-k8s/spillway/internal/explain"
	"github.com/spillway-k8s/spillway/policy"
)

var update = flag.Bool("update", false, "rewrite the golden answers")

func (f *fixture) explain(pod *corev1.Pod, names ...string) placement.Answer {
	f.t.Helper()
	before := f.effects()
	answer, err := f.Explain(pod, placement.Offer{Names: names})
	require.NoError(f.t, err)
	require.Equal(f.t, before, f.effects(), "a question changes nothing")
	return answer
}

// requireExplained requires that Explain says the same as a dry run, and has a reason for each node that does not pass.
func (f *fixture) requireExplained(pod *corev1.Pod, names []string, result placement.FilterResult) {
	f.t.Helper()
	a := f.explain(pod, names...)
	require.Equal(f.t, result, placement.FilterResult{Names: a.Passed, Reason: a.Reason, Refusal: a.Message})
	all := slices.Clone(a.Passed)
	for _, failed := range a.Failed {
		require.NotEmpty(f.t, failed.Why)
		all = append(all, failed.Nodes...)
	}
	require.ElementsMatch(f.t, names, all)
	local, virtual := f.nodes.View().Split(a.Passed)
	switch a.Decision {
	case placement.Local:
		require.Empty(f.t, virtual)
		require.NotEmpty(f.t, local)
	case placement.Cloud:
		require.Empty(f.t, local)
		require.NotEmpty(f.t, virtual)
	case placement.ByScore:
		require.NotEmpty(f.t, local)
		require.NotEmpty(f.t, virtual)
	case placement.Waiting, placement.Refused:
		require.Empty(f.t, a.Passed)
		require.NotEmpty(f.t, a.Message)
	case placement.Gone:
		require.Fail(f.t, "the Pod has a result")
	default:
		require.Failf(f.t, "unknown decision", "%q", a.Decision)
	}
}

// TestTheExplanationIsThatOfThePlugin lets Pods of random kinds be placed, and asks the extender and the plugin, which
// counts Pods of the API server, about each of them.
func TestTheExplanationIsThatOfThePlugin(t *testing.T) {
	rules, err := policy.New(func() policy.Config {
		c := policy.DefaultConfig()
		c.AllowOversize = true
		return c
	}())
	require.NoError(t, err)
	kinds := [][]change{
		nil, {quota(0)}, {quota(2)}, {quota(5)}, {mode(policy.ModeEnforce)}, {mode(policy.ModeAuto)},
		{mode(policy.ModeOff), quota(2)}, {mode(policy.ModeLocalPrefer), sized("2.00_4.0")}, {tolerant},
	}
	for seed := range uint64(50) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 4))
			f := newFixture(t)
			f.limits = []string{"", "pods=3", "cpu=4", "pods=0", "pods=many"}[random.IntN(5)]
			var pods []*corev1.Pod
			for i := range 15 {
				f.global = []policy.Switch{policy.SwitchUnset, policy.SwitchOn, policy.SwitchOff}[random.IntN(3)]
				pods = append(pods, f.scheduled(random, f.pod(fmt.Sprintf("web-%d", i), kinds[random.IntN(len(kinds))]...)))
			}
			for _, pod := range pods {
				got := f.explain(pod, everywhere...).Explanation
				assert.NotEmpty(t, got.Unknown)
				got.Unknown = nil
				want := f.plugin(rules, pod, pods)
				require.Equal(t, want, got)
			}
		})
	}
}

// scheduled filters a Pod and binds it in three of four cases. It returns the Pod as it is at the API server.
func (f *fixture) scheduled(random *rand.Rand, pod *corev1.Pod) *corev1.Pod {
	names := [][]string{everywhere, locals, virtuals}[random.IntN(3)]
	result := f.filter(pod, names...)
	changed := pod.DeepCopy()
	if written := f.slots[pod.Name]; written != "" {
		key, value, _ := strings.Cut(written, ": ")
		changed.Annotations[key] = value
	}
	switch {
	case len(result.Names) == 0:
		changed.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/4 nodes are available: " + result.Refusal,
		}}
	case random.IntN(4) > 0:
		changed.Spec.NodeName = result.Names[random.IntN(len(result.Names))]
	case f.slots[pod.Name] == "":
		changed.Status.Phase = corev1.PodFailed // The API server does not know that it is being bound.
	}
	f.version++
	changed.ResourceVersion = fmt.Sprint(f.version)
	require.NoError(f.t, f.pods.Update(changed))
	return changed
}

// plugin explains a Pod as "kubectl spillway why" does.
func (f *fixture) plugin(rules *policy.Policy, pod *corev1.Pod, all []*corev1.Pod) explain.Explanation {
	var virtual []*corev1.Node
	for _, name := range virtuals {
		virtual = append(virtual, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: policy.VirtualNodeLabels()},
		})
	}
	in := explain.Input{
		Policy: rules, Pod: pod, Global: f.global, Nodes: virtual,
		NamespaceAnnotations: map[string]string{policy.CloudLimitsAnnotation: f.limits},
	}
	explain.UsageOf(rules, all, virtual).Fill(&in)
	e := explain.Explain(in)
	e.Changes = nil
	return e
}

func TestAnAnswerIsGolden(t *testing.T) {
	for name, test := range map[string]struct {
		limits  string
		changes []change
		names   []string
	}{
		"waits":    {"pods=2,cpu=4", []change{quota(1), tolerant}, locals},
		"cloud":    {"", []change{quota(1), tolerant}, append([]string{"foreign-0"}, everywhere...)},
		"refused":  {"", []change{mode(policy.ModeOff)}, virtuals},
		"by_score": {"", []change{mode(policy.ModeAuto)}, everywhere},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			require.NoError(t, f.nodes.Store().Update(node("foreign-0", map[string]string{
				policy.NodeTypeLabel: policy.NodeTypeVirtual,
			})))
			f.limits = test.limits
			locked := node("virtual-1", policy.VirtualNodeLabels())
			locked.Annotations = map[string]string{policy.SoldOutUntilAnnotation: "2026-11-01T12:00:00Z"}
			require.NoError(t, f.nodes.Store().Update(locked))
			f.pod("first", quota(1), on("local-0"))
			answer := f.explain(f.pod("web", test.changes...), test.names...)
			got, err := json.MarshalIndent(answer, "", "  ")
			require.NoError(t, err)
			golden := "testdata/explain_" + name + ".json"
			if *update {
				require.NoError(t, os.WriteFile(golden, append(got, '\n'), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), string(got)+"\n")
		})
	}
}

func TestAnAnswerNamesAHundredHoldersOfThePodsOwnNamespace(t *testing.T) {
	f := newFixture(t)
	for i := range 150 {
		f.pod(fmt.Sprintf("web-%03d", i), quota(150), on("local-0"))
		f.pod(fmt.Sprintf("secret-%03d", i), quota(150), on("local-0"), func(p *corev1.Pod) { p.Namespace = "other" })
	}
	got := f.explain(f.pod("web-150", quota(150)), everywhere...).Explanation.Quota
	require.NotNil(t, got)
	assert.Equal(t, 150, got.Used)
	assert.Equal(t, 50, got.NotListed)
	require.Len(t, got.Holders, 100)
	for _, holder := range got.Holders {
		assert.Contains(t, holder.Pod, "web-")
	}
}

// TestAnAnswerIsNotMuchLargerThanItsNames asks about a Pod with as much as possible that an answer could repeat.
func TestAnAnswerIsNotMuchLargerThanItsNames(t *testing.T) {
	f := newFixture(t)
	f.limits = strings.Repeat("l", 1<<20)
	long := strings.Repeat("x", 1<<20)
	pod := f.pod("a", quota(1), func(p *corev1.Pod) {
		p.Labels = map[string]string{policy.BurstLabel: long}
		p.Annotations[policy.SwitchKey], p.Annotations[policy.HostPathReplacementAnnotation] = long, long
		p.Annotations[policy.LocalReplicasAnnotation] = long
		p.Spec.NodeSelector = map[string]string{long: long}
		for i := range 10_000 {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{
				Name: fmt.Sprint("v", i), VolumeSource: corev1.VolumeSource{
					HostPath: &corev1.HostPathVolumeSource{Path: "/" + long[:100]},
				},
			})
		}
		p.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: long,
		}}
	})
	offer := placement.Offer{Labels: map[string]map[string]string{}}
	size := 0
	for i := range 5000 {
		name := fmt.Sprintf("%s-%d", long[:240], i)
		offer.Names, offer.Labels[name] = append(offer.Names, name), map[string]string{"pool": "new"}
		if i < placement.MaxImagined {
			offer.Labels[name] = policy.VirtualNodeLabels()
			size += len(name) // The explanation names virtual nodes too.
		}
		size += len(name) + len(`"",`)
	}
	answer, err := f.Explain(pod, offer)
	require.NoError(t, err)
	encoded, err := json.Marshal(answer)
	require.NoError(t, err)
	t.Logf("%d bytes for %d bytes of names", len(encoded), size)
	assert.Less(t, len(encoded), size+64<<10)
}

func TestAPodThatEndsIsGone(t *testing.T) {
	f := newFixture(t)
	answer := f.explain(f.pod("a", quota(1), func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), everywhere...)
	assert.Equal(t, placement.Gone, answer.Decision)
	assert.Equal(t, explain.Ended, answer.Explanation.Place)
	assert.Empty(t, answer.Passed)
	assert.Contains(t, answer.Message, "is gone, terminating or finished")
}

func TestExplainHasTheErrorsOfADryRun(t *testing.T) {
	f := newFixture(t)
	pod := f.pod("a", quota(1))
	pod.ResourceVersion = "999999999" // It waits for nothing.
	assert.Equal(t, locals, f.explain(pod, everywhere...).Passed)
	_, err := f.Explain(pod, placement.Offer{Names: []string{"local-9"}})
	var unknown *nodes.UnknownNodeError
	require.ErrorAs(t, err, &unknown)
	f.limits = "unknown"
	_, err = f.Explain(pod, placement.Offer{Names: everywhere})
	require.ErrorContains(t, err, "namespace not found")
	f.notLeading = leadership.ErrNotLeading
	_, err = f.Explain(pod, placement.Offer{Names: everywhere})
	require.ErrorIs(t, err, f.notLeading)
}
