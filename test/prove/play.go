package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spillway-k8s/spillway/test/prove/check"
	"github.com/spillway-k8s/spillway/test/prove/plan"
	player "github.com/spillway-k8s/spillway/test/prove/play"
	"github.com/spillway-k8s/spillway/test/prove/record"
	"github.com/spillway-k8s/spillway/test/system"
)

// result is the result of a run.
type result struct {
	entries    []record.Entry
	report     *check.Report
	violations []*check.Violation
}

// play plays rounds until the budget is used up or I1 is broken. The result is nil if nothing could be played.
func play(ctx context.Context, o options, out io.Writer, logger *slog.Logger) (*result, error) {
	if o.BinDir == "" {
		var err error
		if o.BinDir, err = system.FindBinDir(); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(filepath.Dir(o.Record), 0o755); err != nil {
		return nil, fmt.Errorf("creating the directory of the record: %w", err)
	}
	fmt.Fprintln(out, "building an extender whose clock can be moved: takes some minutes the first time")
	clock, err := jumpingClock(ctx)
	if err != nil {
		return nil, err
	}
	extender, err := build(ctx, filepath.Join(filepath.Dir(o.Record), "proof"), clock...)
	if err != nil {
		return nil, err
	}
	checker, err := check.New(o.limits())
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	log, err := record.Create(o.Record, time.Now, func(entry record.Entry) {
		for _, violation := range checker.Observe(entry) {
			if violation.Promise == "I1" {
				stop(violation) // What follows would hide it.
			}
		}
	})
	if err != nil {
		return nil, err
	}
	options := stageOptions(o, extender, out, logger)
	err = player.With(ctx, options, log, func(ctx context.Context, stage *player.Stage) error {
		return playRounds(ctx, o, stage, out)
	})
	var violation *check.Violation
	if errors.As(context.Cause(ctx), &violation) {
		err = nil // The violation is printed. It caused all other errors.
	}
	err = errors.Join(err, log.Close())
	r := &result{entries: log.Entries()}
	r.report, r.violations = checker.Finish()
	return r, err
}

func stageOptions(o options, extender string, out io.Writer, logger *slog.Logger) player.Options {
	return player.Options{
		Dir: o.Dir, BinDir: o.BinDir, Size: o.size(), Kubernetes: o.Kubernetes, Extender: extender, Progress: out,
		Logger: logger,
	}
}

func playRounds(ctx context.Context, o options, stage *player.Stage, out io.Writer) error {
	planner := plan.New(o.Seed, o.size())
	began := time.Now()
	more := func(played int) bool {
		if o.Rounds > 0 {
			return played < o.Rounds
		}
		return time.Since(began) < o.Budget.Duration
	}
	for played := 0; more(played); played++ {
		round := planner.Next()
		started := time.Now()
		if err := stage.Play(ctx, round); err != nil {
			return err
		}
		fmt.Fprintf(out, "round %d: %d histories, %d faults, quiet after %s\n", round.Number, len(round.Workloads),
			len(slices.Concat(round.Faults...)), time.Since(started).Round(time.Second))
	}
	return nil
}

// recheck checks an existing record.
func recheck(o options, out io.Writer) error {
	entries, err := record.Read(o.Check)
	if err != nil {
		return err
	}
	checker, err := check.New(o.limits())
	if err != nil {
		return err
	}
	for _, entry := range entries {
		checker.Observe(entry)
	}
	report, violations := checker.Finish()
	fmt.Fprintln(out, tables(report))
	for _, violation := range violations[:min(len(violations), maxShown)] {
		show(out, o, entries, violation)
	}
	if len(violations) > 0 {
		return fmt.Errorf("%w: %d violations in %s", errBroken, len(violations), o.Check)
	}
	fmt.Fprintf(out, "All promises were kept in %s.\n", o.Check)
	return nil
}
