// Package day plays a day of 24 hours in minutes, once without and once with the way home, and reports what it saves
// and that it hurts no workload: CPU hours in the cloud, moved Pods, the availability of each workload at any instant,
// and the requests of a client that fail. `make bench` runs it.
//
// The control plane is real: KWOK simulates the local nodes, ccisim the cloud. Several workloads follow a load curve,
// and one node is drained at noon. The load is the same in both runs, because it depends on the seed alone.
//
// Only the load is accelerated. Pods start, end and move in the time that they take, so a move takes a larger part of
// this day than of a real one, and the durations of the way home are shorter than those of an installation.
package day

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

// movingHome is the annotation of a Pod whose move has begun.
const movingHome = policy.Prefix + "moving-home"

// The settings of the way home. Every workload may have a move at once.
const (
	maxMoves  = 4
	minAge    = 3 * time.Second
	stableFor = 2 * time.Second
	pause     = 2 * time.Second
	maxPause  = 20 * time.Second
)

// Config says what is played.
type Config struct {
	// Dir is the directory of the systems. Their logs remain.
	Dir string
	// BinDir contains the binaries that `make build` builds.
	BinDir string
	// Length is how long the day takes.
	Length time.Duration
	// Seed decides the load.
	Seed uint64
	// Progress receives a line for each step.
	Progress io.Writer
}

// Validate reports all errors at once.
func (c Config) Validate() error {
	if c.Length < 10*time.Second {
		return fmt.Errorf("the length of a day: %s: must be at least 10s", c.Length)
	}
	return nil
}

// Result is what both runs show.
type Result struct {
	Length        time.Duration
	Seed          uint64
	Without, With Figures
}

// The cluster: local nodes, and the CPUs of each.
const (
	localNodes = 3
	localCPU   = "4"
)

// Play plays the day without and with the way home.
func Play(ctx context.Context, c Config) (r Result, err error) {
	r.Length, r.Seed = c.Length, c.Seed
	if r.Without, err = play(ctx, c, false); err != nil {
		return r, fmt.Errorf("playing the day without the way home: %w", err)
	}
	if r.With, err = play(ctx, c, true); err != nil {
		return r, fmt.Errorf("playing the day with the way home: %w", err)
	}
	return r, nil
}

func play(ctx context.Context, c Config, wayHome bool) (f Figures, err error) {
	name := "without"
	if wayHome {
		name = "with"
	}
	dir := filepath.Join(c.Dir, name)
	if err := errors.Join(system.Stop(ctx, dir), system.Remove(dir)); err != nil {
		return f, err
	}
	fmt.Fprintf(c.Progress, "A day of %s, %s the way home, in %s\n", c.Length, name, dir)
	trial, err := system.Start(ctx, system.Config{
		Dir: dir, BinDir: c.BinDir, DieWithParent: true, Progress: io.Discard,
		Shape: system.Shape{LocalNodes: localNodes, LocalCPU: localCPU, LocalMemory: "64Gi", VirtualNodes: 1},
		Args: map[string][]string{
			system.CCISim: {"--start-delay=100ms"},
			"vnode":       {"--cci-qps=100", "--cci-burst=200"},
		},
		WayHome: map[string]any{
			"minAge": minAge.String(), "stableFor": stableFor.String(), "pause": pause.String(),
			"maxPause": maxPause.String(), "maxMoves": maxMoves,
		},
	})
	if err != nil {
		return f, err
	}
	defer func() { // An interrupt must not prevent it.
		ended := context.WithoutCancel(ctx)
		err = errors.Join(err, trial.Stop(ended), system.Remove(dir))
	}()
	p, err := newPlayer(trial, c, wayHome)
	if err != nil {
		return f, err
	}
	f, err = p.play(ctx)
	for _, broken := range f.Broken {
		fmt.Fprintln(c.Progress, broken)
	}
	return f, err
}
