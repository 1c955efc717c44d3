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
	"slices"

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

// bench measures everything, prints the figures, and writes them to the document and to the history. Figures of a part
// during which other work used the machine are printed only. It returns an error for them, and with --check for ratios
// out of their range.
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
	figures := r.figures()
	var refused error
	if o.Check {
		refused = checkRatios(figures, rangesFile)
	}
	if o.Document == "" {
		return refused
	}
	for part, others := range r.others {
		if others <= o.MaxOthers {
			continue
		}
		refused = errors.Join(refused, fmt.Errorf("%s: other work used %s of the machine: must be at most %s: "+
			"its figures were not written", part, percent(others), percent(o.MaxOthers)))
		figures = slices.DeleteFunc(figures, func(f figure) bool { return f.part == part })
		for _, section := range sectionsOf[part] {
			delete(tables, section)
		}
	}
	return errors.Join(page.Rewrite(o.Document, tables), r.remember(o.History, figures), refused)
}

// results are the figures of one run.
type results struct {
	options options
	machine machine
	// others is the share of the machine that other work used while a part was measured.
	others     map[string]float64
	throughput []bindingResult
	answers    answerResults
	writes     writeResult
	creation   []creationResult
	cloud      []cloudResult
	day        day.Result
}

// playDay plays a day with and without the way home.
func playDay(ctx context.Context, o options, out io.Writer) (day.Result, error) {
	return day.Play(ctx, day.Config{
		Dir: filepath.Join(o.Dir, "day"), BinDir: o.BinDir, Length: o.Day.Duration, Seed: o.Seed, Progress: out,
	})
}

// measure measures each part on its own cluster. Afterwards only the logs of the clusters remain.
func measure(ctx context.Context, o options, out io.Writer) (r results, err error) {
	r.options, r.others = o, map[string]float64{}
	if o.BinDir == "" {
		if o.BinDir, err = system.FindBinDir(); err != nil {
			return r, err
		}
	}
	if r.machine, err = describeMachine(ctx, o.BinDir); err != nil {
		return r, err
	}
	if err := r.measurePart(partCloud, out, func() (err error) {
		r.cloud, err = measureCloud(ctx, o, out)
		return err
	}); err != nil {
		return r, err
	}
	if err := r.measurePart(partDay, out, func() (err error) {
		r.day, err = playDay(ctx, o, out)
		return err
	}); err != nil {
		return r, err
	}
	if !o.measures(partScheduling) && !o.measures(partFilter) && !o.measures(partCreation) {
		return r, nil
	}
	c, err := startCluster(ctx, o, out)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	if err := r.measurePart(partScheduling, out, func() (err error) {
		r.throughput, err = measureThroughput(ctx, c, o, out)
		return err
	}); err != nil {
		return r, err
	}
	if err := r.measurePart(partFilter, out, func() (err error) {
		r.answers, r.writes, err = measureFilter(ctx, c, o, out)
		return err
	}); err != nil {
		return r, err
	}
	return r, r.measurePart(partCreation, out, func() (err error) {
		r.creation, err = measureCreation(ctx, c, o, out)
		return err
	})
}

// measurePart measures a part, if it is wanted, and how much other work used the machine meanwhile.
func (r *results) measurePart(name string, out io.Writer, measure func() error) error {
	if !r.options.measures(name) {
		return nil
	}
	before, err := measureAll()
	if err != nil {
		return err
	}
	if err := measure(); err != nil {
		return fmt.Errorf("measuring %s: %w", name, err)
	}
	after, err := measureAll()
	if err != nil {
		return err
	}
	r.others[name] = after.othersSince(before)
	fmt.Fprintf(out, "%s: other work used %s of the machine\n", name, percent(r.others[name]))
	return nil
}
