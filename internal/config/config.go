// Package config reads a program's configuration: defaults, then a YAML file, then flags. It knows no program's fields.
package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/internal/run"
)

// Config is what the configuration of every program implements.
type Config interface {
	// AddFlags binds the fields that have flags.
	AddFlags(*pflag.FlagSet)
	// Validate returns every error at once, each with the field, its value and what would be right
	// (field.ErrorList.ToAggregate).
	Validate() error
}

// Renamed is implemented by a Config that accepts former names of its fields in the file.
type Renamed interface {
	// Aliases returns the present path of each renamed field by its former path, such as
	// "soldOut.patience": "soldOut.timeout".
	Aliases() map[string]string
}

// Load fills cfg, which holds the defaults: first from the file of --config (YAML; an unknown field is an error), then
// from the other flags of args. A former name of a field is accepted with a warning. Errors wrap run.ErrUsage. --help
// prints the flags, --version prints the version, and both return pflag.ErrHelp.
func Load(program string, args []string, cfg Config) error {
	file, err := parse(program, args, cfg)
	if err != nil {
		return err
	}
	if file != "" {
		if err := readFile(file, cfg); err != nil {
			return fmt.Errorf("%w: %w", run.ErrUsage, err)
		}
		// The file has overwritten the values of the flags, which have precedence: parse them again.
		if _, err := parse(program, args, cfg); err != nil {
			return err
		}
	}
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("%w: checking the configuration: %w", run.ErrUsage, err)
	}
	return nil
}

// parse fills cfg from flags and returns the value of --config. It creates a new set of flags each time: a set that has
// been parsed before would append to lists instead of replacing them.
func parse(program string, args []string, cfg Config) (file string, err error) {
	flags := pflag.NewFlagSet(program, pflag.ContinueOnError)
	flags.StringVar(&file, "config", "", "YAML `file` with the configuration; flags override it")
	version := flags.Bool("version", false, "print the version and the commit, and exit")
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
	if renamed, ok := cfg.(Renamed); ok {
		if data, err = rename(data, renamed.Aliases()); err != nil {
			return fmt.Errorf("reading the configuration %s: %w", name, err)
		}
	}
	if err := yaml.UnmarshalStrict(data, cfg); err != nil {
		return fmt.Errorf("reading the configuration %s: %w", name, err)
	}
	return nil
}

// rename moves the values of former fields to their present names. A file without former names is returned unchanged.
// Numbers keep their digits: a cluster ID that consists of digits may be longer than what a float64 holds.
func rename(data []byte, aliases map[string]string) ([]byte, error) {
	text, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, err
	}
	var root map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&root); err != nil {
		return nil, err
	}
	changed := false
	for _, old := range slices.Sorted(maps.Keys(aliases)) {
		present := aliases[old]
		value, ok := take(root, split(old))
		if !ok {
			continue
		}
		if !put(root, split(present), value) {
			return nil, fmt.Errorf("%s: must not be set together with %s, its former name", present, old)
		}
		slog.Warn("the configuration uses a former name of a field", "field", old, "renamedTo", present)
		changed = true
	}
	if !changed {
		return data, nil
	}
	return json.Marshal(root) // JSON is YAML.
}
