package main

import (
	"bytes"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// seed of the short form. Others are for `make prove`: a test should fail for a change, and not by chance.
const seed = 20261121

// shortForm is a calm round and one with faults. It is no test of speed.
func shortForm(t *testing.T) *options {
	o := defaultOptions()
	o.Slack, o.Seed, o.Rounds = 10, seed, 2
	o.Dir, o.Record = t.TempDir(), filepath.Join(t.TempDir(), "record.jsonl")
	o.Workloads, o.Burst, o.Nodes, o.Duels, o.Patient, o.Faults, o.Within = 24, 40, 12, 2, 2, 1, metav1.Duration{Duration: 8 * time.Second}
	require.NoError(t, o.Validate())
	return o
}

// keeps plays, and requires that all promises are kept.
func keeps(t *testing.T, o *options) (output string) {
	t.Helper()
	var out bytes.Buffer
	err := prove(t.Context(), *o, &out, slog.New(slog.DiscardHandler))
	t.Log(out.String())
	require.NoError(t, err)
	return out.String()
}

// TestPromisesAreKept is the short form of `make prove`.
func TestPromisesAreKept(t *testing.T) {
	o := shortForm(t)
	keeps(t, o)
	o.Check = o.Record
	assert.Contains(t, keeps(t, o), "All promises were kept in "+o.Record, "checked again")
}

// TestAClockThatJumps breaks nothing: the extender's wall clock goes forward or back, by an hour at most, each second. One machine has one
// clock, for the whole control plane, so that it is the clock inside the extender that is another.
func TestAClockThatJumps(t *testing.T) {
	now := "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	o := shortForm(t)
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	require.NoError(t, err)
	o.Extender = build(t, &edit{
		filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go"), now, now + "\tsec += [...]int64{0, 3600, 60, 1800}[mono/1e9%4]\n",
	})
	keeps(t, o)
}
