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

// breakage is one way to break the ledger.
type breakage struct {
	edit
	// round is the history that reveals it. promise is the promise that it breaks.
	round   plan.Round
	promise string
}

var (
	ledgerFile = filepath.Join("extender", "ledger", "ledger.go")
	countFile  = filepath.Join("extender", "ledger", "count.go")
	chooseFile = filepath.Join("extender", "ledger", "choose.go")
)

func breakages() map[string]breakage {
	waiting := plan.Workload{
		Name: "web", Kind: plan.Deployment, Replicas: 20, Quota: new(5), Burst: policy.ModeLocalPrefer,
		Nodes: plan.WideOnly, CPU: 100, Surge: "25%", Unavailable: "25%",
	}
	burst := waiting
	burst.Nodes, burst.Replicas = plan.Wide, 60
	growing := waiting
	growing.Steps = []plan.Step{{After: 5 * time.Second, Do: plan.Scale, Count: 30}}
	limited := burst
	limited.Quota, limited.Burst = nil, policy.ModeEnforce
	crowd := burst
	crowd.Quota, crowd.Replicas, crowd.Nodes, crowd.CPU = nil, 12, plan.Tight, 300
	crowd.Settings = map[string]string{policy.LocalMinAnnotation: "5"}
	share := waiting
	share.Quota, share.Settings = nil, map[string]string{policy.LocalReplicasAnnotation: "25%"}
	share.Steps = []plan.Step{
		{After: 5 * time.Second, Do: plan.Fail, Count: 6}, {After: 5 * time.Second, Do: plan.Fail, Count: 6},
	}
	capped := burst
	capped.Quota, capped.Burst = nil, policy.ModeEnforce
	capped.Settings = map[string]string{policy.CloudMaxAnnotation: "10%"}
	freeing := waiting
	freeing.Steps = []plan.Step{{After: 10 * time.Second, Do: plan.Regroup, Count: 1}}
	return map[string]breakage{
		"reservations off": {
			edit:  edit{countFile, `holds: l.isLocal(e) || e.node == "" && e.local.reserved`, `holds: l.isLocal(e)`},
			round: plan.Round{Number: 1, Workloads: []plan.Workload{burst}}, promise: "I1",
		},
		"no rebuild after a restart": {
			edit: edit{
				countFile, `return pod.Annotations[policy.LocalSlotAnnotation] ==`,
				`return pod.Annotations["lost/"+policy.LocalSlotAnnotation] ==`,
			},
			// Slots are given, and their bindings take long. Meanwhile the extender is killed and new Pods are created.
			round: plan.Round{
				Number: 2, Workloads: []plan.Workload{growing},
				Faults: [][]plan.Disturbance{
					{{Fault: plan.BindHangs, For: 10 * time.Second}},
					{{After: 2 * time.Second, Fault: plan.KillExtender, For: 100 * time.Millisecond}},
				},
			},
			promise: "I1",
		},
		"cloud slots are not counted": {
			edit: edit{
				countFile, `reserved := e.node == "" && e.active && e.cloud.reserved`, `reserved := false`,
			},
			round: plan.Round{Number: 4, Limits: "pods=7", Workloads: []plan.Workload{limited}}, promise: "I8",
		},
		"claims of the floor are not counted": {
			edit: edit{chooseFile, "rank := s.localUsed + s.claimed.floor", "rank := s.localUsed"},
			// Each Pod is told to wait, and is requeued because too many wait: it is refused in a loop.
			round: plan.Round{Number: 5, Workloads: []plan.Workload{crowd}}, promise: "I5",
		},
		"Pods that have ended are replicas": {
			edit:  edit{chooseFile, "s.inCloud = rev.active,", "s.inCloud = rev.pods,"},
			round: plan.Round{Number: 6, Workloads: []plan.Workload{share}}, promise: "I1",
		},
		"cloud slots do not count towards the share": {
			edit:  edit{countFile, "return r.inCloud + r.bursting", "return r.inCloud"},
			round: plan.Round{Number: 7, Workloads: []plan.Workload{capped}}, promise: "I9",
		},
		"no requeue": {
			edit: edit{ledgerFile, "requeue:   requeue,", "requeue:   func(PodRef) {},"},
			// A slot becomes free, and the scheduler retries before the extender has received the change. The Pods of
			// the round before are deleted by then: their deletion would cause another retry.
			round: plan.Round{
				Number: 3, Workloads: []plan.Workload{freeing},
				Faults: [][]plan.Disturbance{{{After: 9 * time.Second, Fault: plan.LateExtender,
					For: 3 * time.Second}}},
			},
			promise: "I2",
		},
	}
}

// TestBrokenLedgersAreCaught tests the proof itself. The round of each breakage must reveal it, and the unmodified
// ledger must pass all of the rounds.
func TestBrokenLedgersAreCaught(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "extender")
	o := defaultOptions()
	o.Dir, o.Nodes, o.Duels, o.Crowds, o.Returning = t.TempDir(), 6, 0, 1, 0
	var err error
	o.BinDir, err = system.FindBinDir()
	require.NoError(t, err)
	broken := map[string]string{}
	for name, b := range breakages() {
		broken[name] = mustBuild(t, b.edit)
	}
	unmodified := mustBuild(t)
	require.NoError(t, os.Link(unmodified, binary))

	w := newObserver(t)
	log, err := record.Create(filepath.Join(t.TempDir(), "record.jsonl"), time.Now, w.observe)
	require.NoError(t, err)
	options := stageOptions(*o, binary, t.Output(), slog.New(slog.DiscardHandler))
	err = player.With(t.Context(), options, log, func(ctx context.Context, stage *player.Stage) error {
		for name, b := range breakages() {
			t.Run(name, func(t *testing.T) {
				require.NoError(t, stage.Play(ctx, b.round), "the unmodified ledger")
				require.Empty(t, w.report(), "the unmodified ledger")
				exchange(ctx, t, stage, binary, broken[name])
				// The breakage depends on races, so several tries may be necessary. A broken ledger may never become
				// quiet.
				var found []*check.Violation
				for try := 0; try < 5 && len(found) == 0; try++ {
					b.round.Number += 10
					err = stage.Play(ctx, b.round)
					found = w.report()
				}
				exchange(ctx, t, stage, binary, unmodified)
				require.NotEmpty(t, found, "no violation was found; %v", err)
				assert.Equal(t, b.promise, found[0].Promise, "%s", found[0])
				t.Log(found[0])
			})
		}
		return nil
	})
	require.NoError(t, err)
	require.NoError(t, log.Close())
}

// observer checks the record while it is written.
type observer struct {
	mu      sync.Mutex
	checker *check.Checker
	found   []*check.Violation
}

func newObserver(t *testing.T) *observer {
	t.Helper()
	limits := check.DefaultLimits()
	limits.Use, limits.Answer = time.Minute, time.Minute // This test does not measure speed.
	checker, err := check.New(limits)
	require.NoError(t, err)
	return &observer{checker: checker}
}

func (w *observer) observe(entry record.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.found = append(w.found, w.checker.Observe(entry)...)
}

// report returns the violations that were found since the last call.
func (w *observer) report() []*check.Violation {
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

// exchange replaces the binary of the extender and restarts it.
func exchange(ctx context.Context, t *testing.T, stage *player.Stage, binary, by string) {
	t.Helper()
	require.NoError(t, os.Remove(binary))
	require.NoError(t, os.Link(by, binary))
	require.NoError(t, stage.Renew(ctx))
}
