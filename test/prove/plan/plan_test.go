package plan

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var size = Size{Workloads: 20, Burst: 40, WideNodes: 6, TightNodes: 2, Patient: 2, Faults: 2, Within: 10 * time.Second}

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
		BindIn, Intrude,
	} {
		assert.True(t, actions[action], action)
	}
}
