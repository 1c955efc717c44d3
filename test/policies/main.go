// Command policies runs a command once under each set of policies of the simulated cloud, which tests read from the
// environment (vnode/cloudtest). The command is a test binary:
//
//	go test -exec 'policies --sets=all' PACKAGES
//
// `make policies` runs the tests of vnode in this way.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/test/ccisim/faults"
)

func main() {
	os.Exit(run.Main(func(ctx context.Context, args []string) error { return play(ctx, args, os.Stdout, os.Stderr) }))
}

// play runs the command of the arguments under each set that they name. If it fails under one, it is run under the
// others all the same.
func play(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	sets, command, err := parse(args)
	if err != nil {
		return fmt.Errorf("%w: %w", run.ErrUsage, err)
	}
	var failed []string
	for _, set := range sets {
		policies, err := json.Marshal(set.Policies)
		if err != nil {
			return fmt.Errorf("encoding the policies %s: %w", set.Name, err)
		}
		start := time.Now()
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Env = append(os.Environ(), faults.PoliciesVariable+"="+string(policies))
		cmd.Stdout, cmd.Stderr = stdout, stderr
		outcome := "passed"
		if err := cmd.Run(); err != nil {
			outcome = err.Error()
			failed = append(failed, set.Name)
		}
		fmt.Fprintf(stdout, "=== policies %s: %s after %.1fs\n", set.Name, outcome, time.Since(start).Seconds())
	}
	if len(failed) > 0 {
		return fmt.Errorf("failed under the policies %s", strings.Join(failed, ", "))
	}
	return nil
}

// parse returns the sets and the command of the arguments.
func parse(args []string) ([]faults.Set, []string, error) {
	all := faults.Sets()
	var known []string
	for _, set := range all {
		known = append(known, set.Name)
	}
	names := known
	flags := pflag.NewFlagSet("policies", pflag.ContinueOnError)
	flags.SetInterspersed(false)
	flags.StringSliceVar(&names, "sets", names, "the `names` of the sets")
	if err := flags.Parse(args); err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, nil, fmt.Errorf("--sets: %q: must be of %s", name, strings.Join(known, ", "))
		}
	}
	if flags.NArg() == 0 {
		return nil, nil, errors.New("a command is needed")
	}
	chosen := slices.DeleteFunc(all, func(set faults.Set) bool { return !slices.Contains(names, set.Name) })
	return chosen, flags.Args(), nil
}
