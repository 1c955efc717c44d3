package main

import (
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestQuantileIsTheNearestRank(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = 100 - i
	}
	for share, want := range map[float64]int{0: 1, 0.01: 1, 0.5: 50, 0.99: 99, 0.991: 100, 1: 100} {
		assert.Equal(t, want, quantile(hundred, share), share)
	}
	assert.Equal(t, 7, quantile([]int{7}, 0.5))
	assert.Equal(t, 100, hundred[0], "the order of the values is unchanged")
}

func TestMedianAndMean(t *testing.T) {
	assert.InDelta(t, 2.0, median([]float64{9, 1, 2}), 1e-9)
	assert.InDelta(t, 1.5, median([]float64{9, 1, 2, 0}), 1e-9)
	assert.Equal(t, 2*time.Second, mean([]time.Duration{time.Second, 3 * time.Second}))
}

func TestUsageIsReadFromProc(t *testing.T) {
	before, err := parseUsage("cpu  10 20 30 400 5 0 6 7 0 0")
	require.NoError(t, err)
	assert.Equal(t, usage{total: 478, busy: 73}, before)
	p, err := parseProcess("4242 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 31 11 5 4 20 0")
	require.NoError(t, err)
	assert.Equal(t, process{parent: 1, own: 42, children: 9}, p)

	after := usage{total: 578, busy: 133, ours: 20}
	assert.InDelta(t, 0.4, after.othersSince(before), 1e-9, "60 ticks of 100 were used, 20 of them by measured processes")
	assert.Equal(t, 200*time.Millisecond, after.oursSince(before))
	assert.Zero(t, before.othersSince(before))

	for _, line := range []string{"", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8", "cpu a 2 3 4 5 6 7 8"} {
		_, err := parseUsage(line)
		assert.Error(t, err, line)
	}
	for _, stat := range []string{"", "1 (a) S 1", "1 (a) S 1 2 3 4 5 6 7 8 9 10 x 11 0 0 0"} {
		_, err := parseProcess(stat)
		assert.Error(t, err, stat)
	}
}

// A process that computes for half a second and ends is ours; what this test's parent does is not.
func TestOurWorkIsThatOfAllDescendants(t *testing.T) {
	before, err := measureAll()
	require.NoError(t, err)
	spin := "end=$(($(date +%s%N)+500000000)); while [ $(date +%s%N) -lt $end ]; do :; done"
	require.NoError(t, exec.CommandContext(t.Context(), "sh", "-c", "sh -c '"+spin+"'; true").Run())
	after, err := measureAll()
	require.NoError(t, err)
	assert.Greater(t, after.oursSince(before), 50*time.Millisecond)
	assert.GreaterOrEqual(t, after.busy-before.busy, after.ours-before.ours-1, "ours is part of all")
}
