package plan

import (
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/policy"
)

var size = Size{
	Workloads: 20, Burst: 40, WideNodes: 6, TightNodes: 3, Crowds: 1, Returning: 1, Patient: 2, Faults: 2,
	Within: 10 * time.Second,
}

func draws(seed uint64, rounds int) []Round {
	planner := New(seed, size)
	var drawn []Round
	for range rounds {
		drawn = append(drawn, planner.Next())
	}
	return drawn
}

func TestASeedDeterminesThePlan(t *testing.T) {
	assert.Equal(t, draws(7, 5), draws(7, 5))
	assert.NotEqual(t, draws(7, 1), draws(8, 1))
}

func TestEveryFourthRoundIsCalm(t *testing.T) {
	for i, round := range draws(1, 9) {
		assert.Equal(t, i%4 == 0, round.Calm)
		assert.Equal(t, round.Calm, len(round.Faults) == 0)
		assert.Len(t, round.Workloads, size.Workloads)
	}
}

func TestEveryFaultOccursAsOftenAsRequested(t *testing.T) {
	counts := map[Fault]int{}
	for _, series := range draws(3, 2)[1].Faults {
		for _, d := range series {
			counts[d.Fault]++
		}
	}
	require.Len(t, counts, len(Faults(false)))
	for _, fault := range Faults(false) {
		assert.Equal(t, size.Faults, counts[fault], fault)
	}
}

func TestEveryKindOfHistoryIsGenerated(t *testing.T) {
	kinds, actions := map[Kind]bool{}, map[Action]bool{}
	nodes, cluster := map[Nodes]bool{}, map[ClusterAction]bool{}
	for _, round := range draws(5, 60) {
		for _, w := range round.Workloads {
			kinds[w.Kind], nodes[w.Nodes] = true, true
			for _, step := range w.Steps {
				actions[step.Do] = true
			}
		}
		for _, event := range round.ClusterEvents {
			cluster[event.Do] = true
		}
	}
	assert.Len(t, kinds, 4)
	assert.Len(t, nodes, 4)
	assert.Len(t, cluster, 7)
	for _, action := range []Action{
		Scale, Rollout, Rollback, EditQuota, Delete, ForceDelete, Evict, Fail, Release, Adopt, SetOff, DropQuota,
		BindIn, Intrude, EditShares, Regroup,
	} {
		assert.True(t, actions[action], action)
	}
}

func TestSharesAreDrawnInEveryPlaceAndNeverContradict(t *testing.T) {
	keys, places, returning, budgets := map[string]bool{}, map[string]bool{}, 0, 0
	check := func(place string, namespace, settings map[string]string) {
		all := maps.Clone(namespace)
		if all == nil {
			all = map[string]string{}
		}
		maps.Copy(all, settings)
		_, err := policy.ParseShares(all)
		require.NoError(t, err, "%v", all)
		_, _, err = policy.ParseBurstAfter(all)
		require.NoError(t, err)
		for key := range settings {
			keys[key], places[place] = true, true
		}
	}
	for _, round := range draws(5, 60) {
		check("namespace", round.Settings, round.Settings)
		for _, w := range round.Workloads {
			assert.False(t, w.Quota != nil && len(w.Settings) > 0, "one place only")
			place := "template"
			if w.OnWorkload {
				place = "workload"
			}
			check(place, round.Settings, w.Settings)
			for _, step := range w.Steps {
				assert.Equal(t, step.Do == EditShares, len(step.Settings) > 0)
				assert.True(t, step.Do != EditShares || w.OnWorkload)
				check("step", round.Settings, step.Settings)
			}
			if w.WayHome {
				returning++
			}
			if w.MinAvailable > 0 {
				budgets++
				assert.Less(t, w.MinAvailable, w.Replicas)
			}
		}
	}
	assert.Len(t, places, 4)
	assert.Len(t, keys, 5)
	assert.Equal(t, 60, returning)
	assert.NotZero(t, budgets)
}
