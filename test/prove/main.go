// Command prove plays random histories on a real control plane, with faults, and checks from the record of all that happened whether local
// quotas were kept: the promises I1 to I7 of docs/prove.md. `make prove` runs it.
//
// A run is made of rounds, which are drawn from a seed until the time is used up. A violation is shown with the seed, the promise and the
// part of the record that shows it.
package main

import (
	"context"
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

// errBroken says that a promise was broken; what was broken has been printed.
var errBroken = errors.New("a promise was broken")

// prove plays and checks, or checks a record that is there, and prints what it finds.
func prove(ctx context.Context, o options, out io.Writer, logger *slog.Logger) error {
	if o.Check != "" {
		return recheck(o, out)
	}
	fmt.Fprintf(out, "Seed %d, for about %s; the record is %s\n", o.Seed, o.Budget.Duration, o.Record)
	result, err := play(ctx, o, out, logger)
	if result != nil {
		fmt.Fprintln(out, tables(result.report))
		for i, violation := range result.violations {
			if i == mostShown {
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
	return keep(o, result.report)
}

// keep writes the figures into the document.
func keep(o options, report *check.Report) error {
	if o.Document == "" {
		return nil
	}
	heading := fmt.Sprintf("Measured %s with `%s`, on %d CPUs for the whole control plane. All promises were kept.\n",
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), o.command(), runtime.NumCPU())
	return page.Rewrite(o.Document, map[string]string{o.Topology: heading + tables(report)})
}

// mostShown is how many violations are shown with their part of the record: they tend to follow from one another.
const mostShown = 3
