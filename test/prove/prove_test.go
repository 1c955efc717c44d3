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

// seed of the short form. Others are for `make prove`: a test should fail for a change, and not by chance.
const seed = 20261121

// TestPromisesAreKept is the short form of `make prove`: a calm round and one with faults. It is no test of speed.
func TestPromisesAreKept(t *testing.T) {
	o := defaultOptions()
	o.Slack, o.Seed, o.Rounds = 10, seed, 2
	o.Dir, o.Record = t.TempDir(), filepath.Join(t.TempDir(), "record.jsonl")
	o.Workloads, o.Burst, o.Nodes, o.Duels, o.Patient, o.Faults, o.Within = 24, 40, 12, 2, 2, 1, metav1.Duration{Duration: 8 * time.Second}
	require.NoError(t, o.Validate())
	var out bytes.Buffer
	err := prove(t.Context(), *o, &out, slog.New(slog.DiscardHandler))
	t.Log(out.String())
	require.NoError(t, err)

	o.Check = o.Record
	out.Reset()
	require.NoError(t, prove(t.Context(), *o, &out, slog.New(slog.DiscardHandler)), "its record, checked again")
	assert.Contains(t, out.String(), "All promises were kept in "+o.Record)
}
