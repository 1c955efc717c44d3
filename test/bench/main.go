// Command bench measures the costs of Spillway: Pods that a stock kube-scheduler binds per second, the response time of
// filter, the cost of writing a slot, and the cost of admission when Pods are created. Each figure is compared with a
// floor from the same run: no extender, an extender that does nothing, no webhook. `make bench` runs it and writes the
// figures to docs/benchmarks.md.
//
// It checks that it measures what it says (calls, answers, quotas). It is no performance test: no figure makes it fail.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/test/day"
	"github.com/spillway-k8s/spillway/test/page"
	"github.com/spillway-k8s/spillway/test/system"
)

func main() { os.Exit(run.Main(program)) }

func program(ctx context.Context, args []string) error {
	if len(args) == 1 && args[0] == noOpCommand {
		return serveNoOp(ctx, os.Stdin, os.Stdout)
	}
	o := defaultOptions()
	if err := config.Load("bench", args, o); err != nil {
		return err
	}
	if _, err := logging.SetUp(logging.Config{Level: "warn", Format: "text"}, os.Stderr); err != nil {
		return err
	}
	return bench(ctx, *o, os.Stdout)
}

// bench measures everything, prints the figures and writes them to the document.
func bench(ctx context.Context, o options, out io.Writer) error {
	r, err := measure(ctx, o, out)
	if err != nil {
		return err
	}
	tables := r.tables()
	for _, section := range sections {
		if table, measured := tables[section]; measured {
			fmt.Fprintf(out, "\n%s\n", table)
		}
	}
	if o.Document == "" {
		return nil
	}
	return page.Rewrite(o.Document, tables)
}

// results are the figures of one run.
type results struct {
	options    options
	machine    machine
	throughput []bindingResult
	answers    answerResults
	writes     writeResult
	creation   []creationResult
	cloud      []cloudResult
	day        day.Result
}

// playDay plays a day with and without the way home.
func playDay(ctx context.Context, o options, out io.Writer) (day.Result, error) {
	binDir := o.BinDir
	if binDir == "" {
		var err error
		if binDir, err = system.FindBinDir(); err != nil {
			return day.Result{}, err
		}
	}
	return day.Play(ctx, day.Config{
		Dir: filepath.Join(o.Dir, "day"), BinDir: binDir, Length: o.Day.Duration, Seed: o.Seed, Progress: out,
	})
}

// measure measures each part on its own cluster. Afterwards only the logs of the clusters remain.
func measure(ctx context.Context, o options, out io.Writer) (r results, err error) {
	r.options = o
	if r.machine, err = describeMachine(); err != nil {
		return r, err
	}
	if o.measures(partCloud) {
		if r.cloud, err = measureCloud(ctx, o, out); err != nil {
			return r, fmt.Errorf("measuring virtual nodes: %w", err)
		}
	}
	if o.measures(partDay) {
		if r.day, err = playDay(ctx, o, out); err != nil {
			return r, err
		}
	}
	c, err := startCluster(ctx, o, out)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	if r.machine.kubernetes, err = c.version(); err != nil {
		return r, err
	}
	if o.measures(partScheduling) {
		if r.throughput, err = measureThroughput(ctx, c, o, out); err != nil {
			return r, fmt.Errorf("measuring throughput: %w", err)
		}
	}
	if o.measures(partFilter) {
		if r.answers, r.writes, err = measureFilter(ctx, c, o, out); err != nil {
			return r, fmt.Errorf("measuring filter: %w", err)
		}
	}
	if o.measures(partCreation) {
		if r.creation, err = measureCreation(ctx, c, o, out); err != nil {
			return r, fmt.Errorf("measuring the creation of Pods: %w", err)
		}
	}
	r.machine.loadAfter, err = loadAverage()
	return r, err
}
