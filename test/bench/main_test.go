package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/day"
	"github.com/spillway-k8s/spillway/test/page"
)

// The test program is the no-op extender too, as the benchmark is.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == noOpCommand {
		if err := serveNoOp(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// tiny returns options that measure everything once, in seconds.
func tiny(t *testing.T) options {
	t.Helper()
	o := defaultOptions()
	o.Dir, o.Rounds, o.Nodes, o.Pods, o.Revisions, o.Quota = t.TempDir(), 1, 20, 100, 5, 4
	o.Names, o.Asks, o.Writes, o.Creates, o.Calm.Duration = []int{10, 40}, 5, 5, 40, 0
	o.Cloud, o.Day.Duration = []string{"20/1", "30/2"}, 20*time.Second
	require.NoError(t, o.Validate())
	return *o
}

// The benchmark itself checks all calls, answers and quotas, and returns an error if one is wrong.
func TestBenchMeasuresEveryCaseAndQuotasAreExact(t *testing.T) {
	r, err := measure(t.Context(), tiny(t), t.Output())
	require.NoError(t, err)

	require.Len(t, r.throughput, len(throughputCases))
	for _, row := range r.throughput {
		require.Len(t, row.measurements, 1, row.key)
		assert.Positive(t, row.measurements[0].rate, row.key)
		switch row.calling {
		case noOpForAll, oursForAll:
			assert.GreaterOrEqual(t, row.measurements[0].calls, 100, row.key)
		default:
			assert.Zero(t, row.measurements[0].calls, row.key)
		}
	}
	require.Len(t, r.answers.rows, 6, "three kinds of Pods, two numbers of names")
	for _, row := range r.answers.rows {
		assert.Len(t, row.noOp, 5)
		assert.Len(t, row.ours, 5)
		assert.Positive(t, quantile(row.ours, 0))
	}
	assert.EqualValues(t, 1, r.answers.noOpConnections)
	assert.EqualValues(t, 1, r.answers.oursConnections, "an answer of unknown length would need a new connection")
	assert.Len(t, r.writes.patch, 5)
	assert.Len(t, r.writes.first, 5)
	assert.Len(t, r.writes.again, 5)

	require.Len(t, r.creation, len(creationCases))
	for _, row := range r.creation {
		assert.Len(t, row.alone, 40, row.title)
		require.Len(t, row.rates, 1, row.title)
		assert.Positive(t, row.rates[0], row.title)
	}

	for name, f := range map[string]day.Figures{"without": r.day.Without, "with": r.day.With} {
		assert.Positive(t, f.CloudSeconds, "%s the way home", name)
		assert.Positive(t, f.Evictions, "a node is drained, %s the way home", name)
		assert.GreaterOrEqual(t, f.AfterEviction, 0, "%s the way home", name)
		assert.Greater(t, f.Requests, 100, "%s the way home", name)
	}
	assert.Empty(t, r.day.Without.Moved)

	document := filepath.Join(t.TempDir(), "benchmarks.md")
	content, err := os.ReadFile("../../docs/benchmarks.md")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(document, content, 0o644))
	require.NoError(t, page.Rewrite(document, r.tables()))
	rewritten, err := os.ReadFile(document)
	require.NoError(t, err)
	assert.Contains(t, string(rewritten), "100 Pods of 5 ReplicaSets, 20 local and 3 virtual nodes, "+
		"1 measurements of each case; the quota is 4 of 20 replicas.")
	for _, tc := range throughputCases {
		assert.Equal(t, 1, strings.Count(string(rewritten), "| "+tc.title+" |"), tc.key)
	}
}
