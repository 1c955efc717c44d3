package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/prove/check"
	"github.com/spillway-k8s/spillway/test/prove/plan"
	player "github.com/spillway-k8s/spillway/test/prove/play"
	"github.com/spillway-k8s/spillway/test/prove/record"
	"github.com/spillway-k8s/spillway/test/system"
)

// breakage is a way to break the ledger.
type breakage struct {
	edit
	// round is the history that shows it, and promise what it breaks.
	round   plan.Round
	promise string
}

var ledgerFile = filepath.Join("extender", "ledger", "ledger.go")

func breakages() map[string]breakage {
	waiting := plan.Workload{
		Name: "web", Kind: plan.Deployment, Replicas: 20, Quota: new(5), Burst: policy.ModeLocalPrefer, Home: plan.HomeOnly, CPU: 100,
		Surge: "25%", Unavailable: "25%",
	}
	burst := waiting
	burst.Home, burst.Replicas = plan.Wide, 60
	growing := waiting
	growing.Steps = []plan.Step{{After: 5 * time.Second, Do: plan.Scale, Count: 30}}
	freeing := waiting
	freeing.Steps = []plan.Step{{After: 10 * time.Second, Do: plan.DropQuota, Count: 1}}
	return map[string]breakage{
		"reservations off": {
			edit:  edit{ledgerFile, `return l.isLocal(e) || e.node == "" && e.reserved`, `return l.isLocal(e)`},
			round: plan.Round{Number: 1, Workloads: []plan.Workload{burst}}, promise: "I1",
		},
		"no rebuild after a restart": {
			edit: edit{ledgerFile, `return pod.Spec.NodeName == "" &&`, `return false && pod.Spec.NodeName == "" &&`},
			// Slots are given, and their bindings are under way for long; the extender is killed meanwhile, and new Pods come.
			round: plan.Round{
				Number: 2, Workloads: []plan.Workload{growing},
				Faults: [][]plan.Disturbance{
					{{Fault: plan.BindHangs, For: 10 * time.Second}},
					{{After: 2 * time.Second, Fault: plan.KillExtender, For: 100 * time.Millisecond}},
				},
			},
			promise: "I1",
		},
		"no requeue": {
			edit: edit{ledgerFile, "requeue:   requeue,", "requeue:   func(PodRef) {},"},
			// A slot becomes free, and the scheduler looks again before the extender has seen it. The Pods of the round before are gone by
			// then: their end would make it look once more.
			round: plan.Round{
				Number: 3, Workloads: []plan.Workload{freeing},
				Faults: [][]plan.Disturbance{{{After: 9 * time.Second, Fault: plan.LateExtender, For: 3 * time.Second}}},
			},
			promise: "I2",
		},
	}
}

// TestBrokenLedgersAreCaught is the test of the proof: each breakage is found in the round that is made for it, and the ledger as it is gets
// through all of them.
func TestBrokenLedgersAreCaught(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "extender")
	o := defaultOptions()
	o.Dir, o.Nodes, o.Duels = t.TempDir(), 6, 0
	var err error
	o.BinDir, err = system.FindBinDir()
	require.NoError(t, err)
	broken := map[string]string{}
	for name, b := range breakages() {
		broken[name] = mustBuild(t, b.edit)
	}
	whole := mustBuild(t)
	require.NoError(t, os.Link(whole, binary))

	w := newWatchman(t)
	log, err := record.Create(filepath.Join(t.TempDir(), "record.jsonl"), time.Now, w.see)
	require.NoError(t, err)
	err = player.With(t.Context(), stageOptions(*o, binary, t.Output(), slog.New(slog.DiscardHandler)), log, func(ctx context.Context, stage *player.Stage) error {
		for name, b := range breakages() {
			t.Run(name, func(t *testing.T) {
				require.NoError(t, stage.Play(ctx, b.round), "as it is")
				require.Empty(t, w.report(), "as it is")
				exchange(ctx, t, stage, binary, broken[name])
				// What it takes to show is a race in part, which may go well a few times. A broken one need not come to rest.
				var found []*check.Violation
				for try := 0; try < 5 && len(found) == 0; try++ {
					b.round.Number += 10
					err = stage.Play(ctx, b.round)
					found = w.report()
				}
				exchange(ctx, t, stage, binary, whole)
				require.NotEmpty(t, found, "nothing was found; %v", err)
				assert.Equal(t, b.promise, found[0].Promise, "%s", found[0])
				t.Log(found[0])
			})
		}
		return nil
	})
	require.NoError(t, err)
	require.NoError(t, log.Close())
}

// watchman checks the record as it is made.
type watchman struct {
	mu      sync.Mutex
	checker *check.Checker
	found   []*check.Violation
}

func newWatchman(t *testing.T) *watchman {
	t.Helper()
	limits := check.DefaultLimits()
	limits.Use, limits.Answer = time.Minute, time.Minute // This is no test of speed.
	checker, err := check.New(limits)
	require.NoError(t, err)
	return &watchman{checker: checker}
}

func (w *watchman) see(entry record.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.found = append(w.found, w.checker.See(entry)...)
}

// report returns what was found since it was called last.
func (w *watchman) report() []*check.Violation {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := w.found
	w.found = nil
	return found
}

func mustBuild(t *testing.T, edits ...edit) (binary string) {
	t.Helper()
	binary, err := build(t.Context(), t.TempDir(), edits...)
	require.NoError(t, err)
	return binary
}

// exchange has another extender run.
func exchange(ctx context.Context, t *testing.T, stage *player.Stage, binary, by string) {
	t.Helper()
	require.NoError(t, os.Remove(binary))
	require.NoError(t, os.Link(by, binary))
	require.NoError(t, stage.Renew(ctx))
}
