// Command matrix runs the end-to-end tests, with all stories, and a short proof on each version of Kubernetes, and
// writes the table of docs/compatibility.md. `make matrix` builds what it needs and runs it.
//
// It keeps the result of each version, and continues there when it is started again. If a version fails, the others are
// still run, the page is not written, and the command fails.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/test/page"
	"github.com/spillway-k8s/spillway/test/system"
)

func main() { os.Exit(run.Main(program)) }

// options determine what is run.
type options struct {
	// Versions are the versions of Kubernetes. Default all, the newest first.
	Versions []string `json:"versions"`
	// BinDir contains the programs, the control planes, and the binaries prove and e2e.test. Default .run/bin.
	BinDir string `json:"binDir"`
	// Dir is the directory of the results and of the logs. Default .run/matrix.
	Dir string `json:"dir"`
	// Source is the directory of the end-to-end tests, in which they run. Default test/e2e.
	Source string `json:"source"`
	// Run selects the end-to-end tests, as -test.run does. The default, empty, runs all.
	Run string `json:"run"`
	// Parallel is the number of end-to-end tests that run at the same time. Default 3.
	Parallel int `json:"parallel"`
	// Rounds is the number of rounds of the proof. Default 2.
	Rounds int `json:"rounds"`
	// Document is the page with the table. If it is empty, no page is written. It is written only if all versions were
	// run.
	Document string `json:"document"`
}

func defaultOptions() *options {
	return &options{
		Versions: system.KubernetesVersions, BinDir: ".run/bin", Dir: ".run/matrix", Source: "test/e2e", Parallel: 3,
		Rounds: 2,
	}
}

// AddFlags defines a flag for each field.
func (o *options) AddFlags(flags *pflag.FlagSet) {
	flags.StringSliceVar(&o.Versions, "versions", o.Versions, "versions of Kubernetes")
	flags.StringVar(&o.BinDir, "bin-dir", o.BinDir, "`directory` of the binaries")
	flags.StringVar(&o.Dir, "dir", o.Dir, "`directory` of the results and the logs")
	flags.StringVar(&o.Source, "source", o.Source, "`directory` of the end-to-end tests")
	flags.StringVar(&o.Run, "run", o.Run, "`expression` that selects end-to-end tests; empty runs all")
	flags.IntVar(&o.Parallel, "parallel", o.Parallel, "end-to-end tests that run at the same time")
	flags.IntVar(&o.Rounds, "rounds", o.Rounds, "rounds of the proof")
	flags.StringVar(&o.Document, "document", o.Document, "`page` with the table; empty writes none")
}

// Validate reports all errors at once.
func (o *options) Validate() error {
	var errs []error
	for _, version := range o.Versions {
		if !slices.Contains(system.KubernetesVersions, version) {
			errs = append(errs, fmt.Errorf("--versions: %q: must be of %v", version, system.KubernetesVersions))
		}
	}
	if o.Parallel < 1 || o.Rounds < 1 {
		errs = append(errs, fmt.Errorf("--parallel and --rounds: %d and %d: must be at least 1", o.Parallel, o.Rounds))
	}
	return errors.Join(errs...)
}

func program(ctx context.Context, args []string) error {
	o := defaultOptions()
	if err := config.Load("matrix", args, o); err != nil {
		return err
	}
	return matrix(ctx, *o, os.Stdout)
}

// matrix runs all versions and writes the page.
func matrix(ctx context.Context, o options, out io.Writer) error {
	var err error
	for _, path := range []*string{&o.BinDir, &o.Dir, &o.Source} {
		var absErr error
		*path, absErr = filepath.Abs(*path)
		err = errors.Join(err, absErr)
	}
	if err != nil {
		return fmt.Errorf("finding the directories: %w", err)
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return fmt.Errorf("creating the directory of the results: %w", err)
	}
	var results []result
	var errs []error
	for _, version := range o.Versions {
		v := runner{options: o, version: version, out: out, started: time.Now()}
		got, err := v.run(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("version %s of Kubernetes: %w", version, err)
		}
		if err != nil {
			v.report("failed: %v", err)
			errs = append(errs, fmt.Errorf("version %s of Kubernetes: %w", version, err))
		}
		results = append(results, got)
	}
	written := table(results)
	fmt.Fprintln(out, "\n"+written)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if o.Document == "" || len(results) < len(system.KubernetesVersions) {
		return nil
	}
	return page.Rewrite(o.Document, map[string]string{"versions": written})
}
