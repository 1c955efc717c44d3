package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/prove/plan"
)

// options say what is played.
type options struct {
	// Seed is what the plan is drawn from; 0, the default, takes one from the clock.
	Seed uint64 `json:"seed"`
	// Budget is for how long new rounds begin. The last one is played to its end, about a minute more. Default 5m.
	Budget metav1.Duration `json:"budget"`
	// Dir holds the trial system while it runs, and its logs afterwards. Default .run/prove.
	Dir string `json:"dir"`
	// BinDir holds the binaries that `make build` makes. Empty, the default, looks for .run/bin upwards.
	BinDir string `json:"binDir"`
	// Record is the file that the record is written to. Default .run/prove.jsonl.
	Record string `json:"record"`
	// Check is a record to be checked again; nothing is played then.
	Check string `json:"check"`
	// Extender is a binary to try in place of the one in BinDir.
	Extender string `json:"extender"`
	// Workloads is how many histories a round has at once, 1 at least beside duels and the burst. Default 75.
	Workloads int `json:"workloads"`
	// Burst is how many replicas the one workload of a round has that comes in a burst, 0 for none. Default 150.
	Burst int `json:"burst"`
	// Nodes is how many local nodes with room there are; from 100 on the scheduler samples by default. Default 100.
	Nodes int `json:"nodes"`
	// Duels is how many pairs of workloads of a round compete for a small node. Default 4.
	Duels int `json:"duels"`
	// Faults is how often each fault comes in a round that is not calm. Default 2.
	Faults int `json:"faults"`
	// Within is how long a round takes to begin its histories. Default 30s.
	Within metav1.Duration `json:"within"`
}

func defaultOptions() *options {
	return &options{
		Budget: metav1.Duration{Duration: 5 * time.Minute}, Dir: ".run/prove", Record: ".run/prove.jsonl",
		Workloads: 75, Burst: 150, Nodes: 100, Duels: 4, Faults: 2, Within: metav1.Duration{Duration: 30 * time.Second},
	}
}

// AddFlags binds the fields.
func (o *options) AddFlags(flags *pflag.FlagSet) {
	flags.Uint64Var(&o.Seed, "seed", o.Seed, "what the plan is drawn from; 0 takes one from the clock")
	flags.DurationVar(&o.Budget.Duration, "budget", o.Budget.Duration, "for how long new rounds begin")
	flags.StringVar(&o.Dir, "dir", o.Dir, "`directory` of the trial system, which is emptied but for its logs")
	flags.StringVar(&o.BinDir, "bin-dir", o.BinDir, "`directory` of the binaries that make build makes; empty looks for .run/bin upwards")
	flags.StringVar(&o.Record, "record", o.Record, "`file` that the record is written to")
	flags.StringVar(&o.Check, "check", o.Check, "`file` of a record to check again; nothing is played")
	flags.StringVar(&o.Extender, "extender", o.Extender, "`file` to run as the extender in place of the one that make build makes")
	flags.IntVar(&o.Workloads, "workloads", o.Workloads, "histories that a round plays at once")
	flags.IntVar(&o.Burst, "burst", o.Burst, "replicas of the workload that comes in a burst; 0 for none")
	flags.IntVar(&o.Nodes, "nodes", o.Nodes, "local nodes with room")
	flags.IntVar(&o.Duels, "duels", o.Duels, "pairs of workloads that compete for a small node")
	flags.IntVar(&o.Faults, "faults", o.Faults, "how often each fault comes in a round that is not calm")
	flags.DurationVar(&o.Within.Duration, "within", o.Within.Duration, "how long a round takes to begin its histories")
}

// Validate reports every fault at once, and chooses a seed where there is none.
func (o *options) Validate() error {
	var faults []error
	fault := func(flag string, value any, right string) {
		faults = append(faults, fmt.Errorf("--%s: invalid value %v: must be %s", flag, value, right))
	}
	for flag, value := range map[string]string{"dir": o.Dir, "record": o.Record} {
		if value == "" {
			fault(flag, `""`, "a path")
		}
	}
	for flag, value := range map[string]int{"workloads": o.Workloads, "nodes": o.Nodes} {
		if value < 1 {
			fault(flag, value, "1 at least")
		}
	}
	for flag, value := range map[string]int{"burst": o.Burst, "duels": o.Duels, "faults": o.Faults} {
		if value < 0 {
			fault(flag, value, "0 at least")
		}
	}
	for flag, value := range map[string]time.Duration{"budget": o.Budget.Duration, "within": o.Within.Duration} {
		if value <= 0 {
			fault(flag, value, "above zero")
		}
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	if o.Seed == 0 {
		o.Seed = uint64(time.Now().UnixMilli())
	}
	return errors.Join(faults...)
}

func (o *options) size() plan.Size {
	return plan.Size{Workloads: o.Workloads, Burst: o.Burst, WideNodes: o.Nodes, TightNodes: o.Duels, Faults: o.Faults, Within: o.Within.Duration}
}
