// Command prove plays random histories with faults on a real control plane, records everything that happens, and checks
// the record: the promises I1 to I12 of docs/prove.md about quotas, shares, limits, waits and ways home. `make prove`
// runs it.
//
// A run consists of rounds, which are generated from a seed until the time is used up. A violation is printed with the
// seed, the promise and the relevant part of the record.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"time"

	"github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/test/page"
	"github.com/spillway-k8s/spillway/test/prove/check"
)

func main() { os.Exit(run.Main(program)) }

func program(ctx context.Context, args []string) error {
	o := defaultOptions()
	if err := config.Load("prove", args, o); err != nil {
		return err
	}
	logger, err := logging.SetUp(logging.Config{Level: "warn", Format: "text"}, os.Stderr)
	if err != nil {
		return err
	}
	return prove(ctx, *o, os.Stdout, logger)
}

// errBroken means that a promise was broken. The violations have been printed.
var errBroken = errors.New("a promise was broken")

// prove plays histories and checks them, or checks an existing record, and prints the result.
func prove(ctx context.Context, o options, out io.Writer, logger *slog.Logger) error {
	if o.Check != "" {
		return recheck(o, out)
	}
	fmt.Fprintf(out, "Seed %d, budget %s; the record is %s\n", o.Seed, o.Budget.Duration, o.Record)
	result, err := play(ctx, o, out, logger)
	if result != nil {
		fmt.Fprintln(out, tables(result.report))
		for i, violation := range result.violations {
			if i == maxShown {
				fmt.Fprintf(out, "… and %d more\n", len(result.violations)-i)
				break
			}
			show(out, o, result.entries, violation)
		}
		if len(result.violations) > 0 {
			err = errors.Join(errBroken, err)
		}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "All promises were kept (seed %d).\n", o.Seed)
	return errors.Join(keep(o, result.report), writeFigures(o, result.report))
}

// writeFigures writes what other programs read.
func writeFigures(o options, report *check.Report) error {
	if o.Figures == "" {
		return nil
	}
	content, err := json.Marshal(map[string]int{
		"histories": report.Histories, "pods": report.Pods, "slots": report.Slots, "cloudSlots": report.CloudSlots,
	})
	if err != nil {
		return fmt.Errorf("encoding the figures: %w", err)
	}
	if err := os.WriteFile(o.Figures, content, 0o644); err != nil {
		return fmt.Errorf("writing the figures: %w", err)
	}
	return nil
}

// keep writes the figures into the document.
func keep(o options, report *check.Report) error {
	if o.Document == "" {
		return nil
	}
	heading := fmt.Sprintf("Measured %s with `%s`, on %d CPUs for the whole control plane. All promises were kept.",
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), o.command(), runtime.NumCPU())
	return page.Rewrite(o.Document, map[string]string{o.Topology: page.Fill(heading) + tables(report)})
}

// maxShown is the number of violations that are printed with their part of the record. Usually one causes the others.
const maxShown = 3
