package main

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// seed is the seed of the short run. It is constant so that the test fails because of a change and not by chance.
const seed = 20261121

// TestPromisesAreKept is a short `make prove`: one calm round and one round with faults. It does not measure speed.
func TestPromisesAreKept(t *testing.T) {
	o := defaultOptions()
	o.Slack, o.Seed, o.Rounds = 10, seed, 2
	o.Dir, o.Record = t.TempDir(), filepath.Join(t.TempDir(), "record.jsonl")
	o.Workloads, o.Burst, o.Nodes, o.Duels, o.Patient, o.Faults = 28, 40, 12, 2, 2, 1
	o.Crowds, o.Returning = 3, 2
	o.Within = metav1.Duration{Duration: 8 * time.Second}
	require.NoError(t, o.Validate())
	var out bytes.Buffer
	err := prove(t.Context(), *o, &out, slog.New(slog.DiscardHandler))
	t.Log(out.String())
	require.NoError(t, err)

	o.Check = o.Record
	out.Reset()
	require.NoError(t, prove(t.Context(), *o, &out, slog.New(slog.DiscardHandler)), "checking the record again")
	assert.Contains(t, out.String(), "All promises were kept in "+o.Record)
}
