package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// flagsPage lists the flags of each program and of the commands of vnode.
func flagsPage(*module) (string, error) {
	var b strings.Builder
	begin(&b, "Flags",
		"A program reads its defaults first, then the YAML file of `--config`, then its other "+
			"flags. [Configuration fields](configuration.md) lists what the file may contain. Every program also takes "+
			"`--help` and `--version`.")
	sets := map[string]*pflag.FlagSet{}
	for _, p := range programs() {
		set := pflag.NewFlagSet(p.name, pflag.ContinueOnError)
		p.addFlags(set)
		sets[p.name] = set
		rows, shared, err := flagRows(p.name, set, sets[p.base])
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s", p.name, table([]string{"Flag", "Value", "Default", "Description"}, rows))
		if shared != nil {
			b.WriteString("\n" + wrap(fmt.Sprintf("It also takes these flags of `%s`: %s.", p.base, strings.Join(shared, ", "))))
		}
	}
	return b.String(), nil
}

// flagRows returns a row for each flag, and the names of those that are the same in the base.
func flagRows(program string, set, base *pflag.FlagSet) (rows [][]string, shared []string, err error) {
	set.VisitAll(func(f *pflag.Flag) {
		name, usage := pflag.UnquoteUsage(f)
		if usage == "" {
			err = fmt.Errorf("flag --%s of %s has no description", f.Name, program)
		}
		if base != nil && base.Lookup(f.Name) != nil && base.Lookup(f.Name).Usage == f.Usage {
			shared = append(shared, code("--"+f.Name))
			return
		}
		rows = append(rows, []string{code("--" + f.Name), name, code(defaultOf(f)), usage})
	})
	slices.Sort(shared)
	return rows, shared, err
}

func defaultOf(f *pflag.Flag) string {
	return strings.TrimSuffix(strings.TrimPrefix(f.DefValue, "["), "]")
}
