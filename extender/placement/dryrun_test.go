package placement_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/extender/leadership"
	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/extender/nodes"
	"github.com/spillway-k8s/spillway/extender/placement"
	"github.com/spillway-k8s/spillway/policy"
)

// effects are what a dry run must not change.
type effects struct {
	stats             ledger.Stats
	written, requeued int
	verified          int
}

func (f *fixture) effects() effects {
	return effects{f.ledger.Stats(), len(f.written), len(f.requeued), len(f.verified)}
}

func (f *fixture) dryRun(pod *corev1.Pod, names ...string) placement.FilterResult {
	f.t.Helper()
	before := f.effects()
	var result placement.FilterResult
	for range 3 {
		var err error
		result, err = f.DryRun(pod, placement.Offer{Names: names})
		require.NoError(f.t, err)
		f.requireExplained(pod, names, result)
	}
	require.Equal(f.t, before, f.effects(), "a dry run changes nothing")
	return result
}

// TestADryRunSaysWhatFilterDoes asks about Pods of random kinds, until quota and limits are used up.
func TestADryRunSaysWhatFilterDoes(t *testing.T) {
	kinds := [][]change{
		nil, {quota(0)}, {quota(2)}, {quota(5)}, {mode(policy.ModeEnforce)}, {mode(policy.ModeAuto)},
		{mode(policy.ModeOff), quota(2)}, {mode(policy.ModeLocalPrefer), sized("2.00_4.0")}, {unmarked},
		{unmarked, tolerant}, {waits("2h")}, {waits("2h"), quota(2)},
		{annotated(policy.LocalReplicasAnnotation, "40%")},
		{annotated(policy.LocalMinAnnotation, "2"), quota(3)}, {annotated(policy.LocalMaxAnnotation, "30%")},
		{annotated(policy.CloudMaxAnnotation, "2")},
		{annotated(policy.CloudMaxAnnotation, "1"), mode(policy.ModeEnforce)},
	}
	lists := [][]string{everywhere, locals, virtuals}
	for seed := range uint64(50) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 3))
			f := newFixture(t)
			f.limits = []string{"", "pods=3", "cpu=4", "pods=0"}[random.IntN(4)]
			low := int32(-10)
			if random.IntN(3) == 0 {
				f.pod("buffer", stranger, on("local-0"), func(p *corev1.Pod) { p.Spec.Priority = &low })
			}
			for i := range 20 {
				f.global = []policy.Switch{policy.SwitchUnset, policy.SwitchOn, policy.SwitchOff}[random.IntN(3)]
				kind, names := kinds[random.IntN(len(kinds))], lists[random.IntN(len(lists))]
				pod := f.pod(fmt.Sprintf("web-%d", i), kind...)
				said := f.dryRun(pod, names...)
				require.Equal(t, f.filter(pod, names...), said, "Pod %d", i)
				require.Equal(t, f.filter(pod, names...), f.dryRun(pod, names...), "Pod %d when it has its slot", i)
			}
		})
	}
}

func TestADryRunOfATemplateUsesTheCountOfItsRevision(t *testing.T) {
	f := newFixture(t)
	first := f.pod("first", quota(1), on("local-0"))
	template := first.DeepCopy()
	template.Name, template.UID, template.ResourceVersion, template.Spec.NodeName = "", "", "", ""
	assert.Equal(t, policy.ReasonLocalQuota, f.dryRun(template, everywhere...).Reason)
	template.OwnerReferences[0].UID = "another"
	assert.Equal(t, locals, f.dryRun(template, everywhere...).Names)
}

// TestADryRunWaitsForNothing: a version or a name that never comes must not delay the Pods of the scheduler.
func TestADryRunWaitsForNothing(t *testing.T) {
	f := newFixture(t) // Its answers wait for a minute.
	pod := f.pod("a", quota(1))
	pod.ResourceVersion = "999999999"
	assert.Equal(t, locals, f.dryRun(pod, everywhere...).Names)
	_, err := f.DryRun(pod, placement.Offer{Names: []string{"local-9"}})
	var unknown *nodes.UnknownNodeError
	require.ErrorAs(t, err, &unknown)
}

func TestNodesThatDoNotExistAreClassifiedByTheirLabels(t *testing.T) {
	zone := policy.VirtualNodeLabels()
	zone["zone"] = "b"
	selects := func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"zone": "b"} }
	for name, test := range map[string]struct {
		changes []change
		labels  map[string]map[string]string
		want    []string
	}{
		"a new local node has room": {
			nil, map[string]map[string]string{"new": {"zone": "a"}, "virtual-0": nil}, []string{"new"},
		},
		"a new virtual node is for Pods that burst": {
			[]change{mode(policy.ModeEnforce)}, map[string]map[string]string{"new": policy.VirtualNodeLabels()},
			[]string{"new"},
		},
		"a new virtual node may be the only one that the Pod selects": {
			[]change{mode(policy.ModeEnforce), selects}, map[string]map[string]string{"new": zone}, []string{"new"},
		},
		"a node that only claims to be virtual is for no Pod": {
			nil, map[string]map[string]string{"new": {policy.NodeTypeLabel: policy.NodeTypeVirtual}}, []string{},
		},
		"a node that exists keeps its class": {
			[]change{mode(policy.ModeEnforce)}, map[string]map[string]string{"local-0": policy.VirtualNodeLabels()},
			[]string{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			offer := placement.Offer{Labels: test.labels}
			for name := range test.labels {
				offer.Names = append(offer.Names, name)
			}
			got, err := f.DryRun(f.pod("a", test.changes...), offer)
			require.NoError(t, err)
			assert.Equal(t, test.want, got.Names)
			assert.NotContains(t, f.nodes.View(), "new", "the extender does not remember it")
		})
	}
}

func TestTooManyVirtualNodesThatDoNotExistAreAnError(t *testing.T) {
	f := newFixture(t)
	offer := placement.Offer{Labels: map[string]map[string]string{}}
	for i := range placement.MaxImagined + 1 {
		name := fmt.Sprintf("new-%d", i)
		offer.Names, offer.Labels[name] = append(offer.Names, name), policy.VirtualNodeLabels()
	}
	_, err := f.DryRun(f.pod("a"), offer)
	require.ErrorContains(t, err, "101 virtual nodes that the cluster does not have: must be at most 100")
}

func TestAnExtenderThatDoesNotLeadAnswersNoDryRun(t *testing.T) {
	f := newFixture(t)
	f.notLeading = leadership.ErrNotLeading
	_, err := f.DryRun(f.pod("a"), placement.Offer{Names: everywhere})
	require.ErrorIs(t, err, f.notLeading)
}
