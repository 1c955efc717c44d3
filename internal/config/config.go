// Package config reads a program's configuration: defaults, then a YAML file, then flags. It knows no program's fields.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/internal/run"
)

// Config is what every program's configuration can do.
type Config interface {
	// AddFlags binds the fields that have flags.
	AddFlags(*pflag.FlagSet)
	// Validate reports every fault at once, each with its field, the value and what would be right.
	Validate() error
}

// Load fills cfg, which holds the defaults: first from the file of --config (YAML; unknown fields are faults), then from the
// other flags of args. Faults wrap run.ErrUsage; --help prints the flags, --version what the program is, and both return pflag.ErrHelp.
func Load(program string, args []string, cfg Config) error {
	file, err := parse(program, args, cfg)
	if err != nil {
		return err
	}
	if file != "" {
		if err := readFile(file, cfg); err != nil {
			return fmt.Errorf("%w: %w", run.ErrUsage, err)
		}
		// The file has overwritten what the flags said: they are read again.
		if _, err := parse(program, args, cfg); err != nil {
			return err
		}
	}
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("%w: checking the configuration: %w", run.ErrUsage, err)
	}
	return nil
}

// parse fills cfg from flags and returns the value of --config. Each time it makes a new set of flags: one that has been parsed
// would append to lists where it should replace them.
func parse(program string, args []string, cfg Config) (file string, err error) {
	flags := pflag.NewFlagSet(program, pflag.ContinueOnError)
	flags.StringVar(&file, "config", "", "YAML `file` with the configuration; flags win over it")
	version := flags.Bool("version", false, "say version and commit, and end")
	cfg.AddFlags(flags)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return "", err
		}
		return "", fmt.Errorf("%w: %w", run.ErrUsage, err)
	}
	if *version {
		fmt.Println(run.Version(program))
		return "", pflag.ErrHelp
	}
	if flags.NArg() > 0 {
		return "", fmt.Errorf("%w: unknown argument %q: %s takes flags only", run.ErrUsage, flags.Arg(0), program)
	}
	return file, nil
}

func readFile(name string, cfg Config) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	if err := yaml.UnmarshalStrict(data, cfg); err != nil {
		return fmt.Errorf("reading the configuration %s: %w", name, err)
	}
	return nil
}
