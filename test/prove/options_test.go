package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/prove/record"
)

func TestAllInvalidOptionsAreReported(t *testing.T) {
	o := defaultOptions()
	require.NoError(t, o.Validate())
	assert.NotZero(t, o.Seed, "Validate chooses a seed")
	*o = options{Burst: -1, Topology: "ring"}
	err := o.Validate()
	for _, message := range []string{
		"--dir: invalid value", "--record: invalid value", "--workloads: invalid value 0: must be at least 1", "--nodes: ",
		"--slack: ", "--burst: invalid value -1: must be at least 0", "--budget: invalid value 0s: must be greater than 0",
		"--within: ", "--topology: invalid value ring: must be sidecar or service",
	} {
		assert.ErrorContains(t, err, message)
	}
}

func TestAViolationInARecordIsPrinted(t *testing.T) {
	o := defaultOptions()
	o.Check = filepath.Join(t.TempDir(), "record.jsonl")
	log, err := record.Create(o.Check, time.Now, func(record.Entry) {})
	require.NoError(t, err)
	pod := record.Pod{
		Version: 7, Namespace: "ns", Name: "web-1", UID: "u", Owner: "o", OwnerName: "web", Scheduler: "default-scheduler",
	}
	log.Add(record.Entry{Pod: &pod})
	log.Add(record.Entry{Request: &record.Request{ID: 1, Verb: "filter", UID: "u", Version: 7, Local: 3}})
	require.NoError(t, log.Close())
	var out bytes.Buffer
	err = prove(t.Context(), *o, &out, slog.New(slog.DiscardHandler))
	require.ErrorIs(t, err, errBroken)
	assert.Contains(t, out.String(), "I7 is broken by web-1 of ns/web")
	assert.Contains(t, out.String(), `"asked":{"id":1,"verb":"filter","uid":"u","version":7,"local":3,"virtual":0}`)

	require.NoError(t, os.WriteFile(o.Check, []byte("{\n{"), 0o600))
	require.ErrorContains(t, prove(t.Context(), *o, &out, slog.New(slog.DiscardHandler)),
		"reading entry 1 of the record "+o.Check)
}

func TestTheCommandPlaysTheSamePlanAgain(t *testing.T) {
	o := defaultOptions()
	o.Seed = 42
	assert.Equal(t, "make prove BUDGET=5m0s SEED=42 TOPOLOGY=sidecar", o.command())
	o.Rounds, o.Topology, o.Slack, o.Workloads, o.Within.Duration = 6, service, 5, 172, 45*time.Second
	assert.Equal(t, `make prove ROUNDS=6 SEED=42 TOPOLOGY=service PROVE="--slack=5 --workloads=172 --within=45s"`,
		o.command())
}
