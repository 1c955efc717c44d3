package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/prove/check"
	"github.com/spillway-k8s/spillway/test/prove/plan"
)

// options say what is played.
type options struct {
	// Seed is what the plan is drawn from; 0, the default, takes one from the clock.
	Seed uint64 `json:"seed"`
	// Budget is for how long new rounds begin. The last one is played to its end, about a minute more. Default 5m.
	Budget metav1.Duration `json:"budget"`
	// Rounds is how many rounds are played, whatever the budget is; 0, the default, goes by the budget.
	Rounds int `json:"rounds"`
	// Dir holds the trial system while it runs, and its logs afterwards. Default .run/prove.
	Dir string `json:"dir"`
	// BinDir holds the binaries that `make build` makes. Empty, the default, looks for .run/bin upwards.
	BinDir string `json:"binDir"`
	// Record is the file that the record is written to. Default .run/prove.jsonl.
	Record string `json:"record"`
	// Document is the page whose figures are rewritten where all promises were kept; empty, the default, rewrites none.
	Document string `json:"document"`
	// Check is a record to be checked again; nothing is played then.
	Check string `json:"check"`
	// Slack is what the limits of time of I3 and I7 are multiplied by, for a machine that is busy with other things. Default 1.
	Slack int `json:"slack"`
	// Topology is how the scheduler reaches the extender: "sidecar", the default, or "service".
	Topology string `json:"topology"`
	// Workloads is how many histories a round has at once, 1 at least beside duels and the burst. Default 75.
	Workloads int `json:"workloads"`
	// Burst is how many replicas the one workload of a round has that comes in a burst, 0 for none. Default 200.
	Burst int `json:"burst"`
	// Nodes is how many local nodes with room there are; from 100 on the scheduler samples by default. Default 100.
	Nodes int `json:"nodes"`
	// Duels is how many pairs of workloads of a round compete for a small node. Default 4.
	Duels int `json:"duels"`
	// Patient is how many workloads of a round come last, and wait for slots that become free one by one. Default 4.
	Patient int `json:"patient"`
	// Faults is how often each fault comes in a round that is not calm. Default 2.
	Faults int `json:"faults"`
	// Within is how long a round takes to begin its histories. Default 30s.
	Within metav1.Duration `json:"within"`
}

// What Topology can be.
const (
	sidecar = "sidecar"
	service = "service"
)

func defaultOptions() *options {
	return &options{
		Budget: metav1.Duration{Duration: 5 * time.Minute}, Dir: ".run/prove", Record: ".run/prove.jsonl", Slack: 1, Topology: sidecar,
		Workloads: 75, Burst: 200, Nodes: 100, Duels: 4, Patient: 4, Faults: 2, Within: metav1.Duration{Duration: 30 * time.Second},
	}
}

// AddFlags binds the fields.
func (o *options) AddFlags(flags *pflag.FlagSet) {
	flags.Uint64Var(&o.Seed, "seed", o.Seed, "what the plan is drawn from; 0 takes one from the clock")
	flags.DurationVar(&o.Budget.Duration, "budget", o.Budget.Duration, "for how long new rounds begin")
	flags.IntVar(&o.Rounds, "rounds", o.Rounds, "how many rounds are played, whatever the budget is; 0 goes by the budget")
	flags.StringVar(&o.Dir, "dir", o.Dir, "`directory` of the trial system, which is emptied but for its logs")
	flags.StringVar(&o.BinDir, "bin-dir", o.BinDir, "`directory` of the binaries that make build makes; empty looks for .run/bin upwards")
	flags.StringVar(&o.Record, "record", o.Record, "`file` that the record is written to")
	flags.StringVar(&o.Document, "document", o.Document, "`page` whose figures are rewritten where all promises were kept; empty rewrites none")
	flags.StringVar(&o.Check, "check", o.Check, "`file` of a record to check again; nothing is played")
	flags.IntVar(&o.Slack, "slack", o.Slack, "what the limits of time of I3 and I7 are multiplied by")
	flags.StringVar(&o.Topology, "topology", o.Topology, "sidecar, or service: two extenders that elect a leader, over mutual TLS")
	flags.IntVar(&o.Workloads, "workloads", o.Workloads, "histories that a round plays at once")
	flags.IntVar(&o.Burst, "burst", o.Burst, "replicas of the workload that comes in a burst; 0 for none")
	flags.IntVar(&o.Nodes, "nodes", o.Nodes, "local nodes with room")
	flags.IntVar(&o.Duels, "duels", o.Duels, "pairs of workloads that compete for a small node")
	flags.IntVar(&o.Patient, "patient", o.Patient, "workloads that come last and wait for slots")
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
	for flag, value := range map[string]int{"workloads": o.Workloads, "nodes": o.Nodes, "slack": o.Slack} {
		if value < 1 {
			fault(flag, value, "1 at least")
		}
	}
	for flag, value := range map[string]int{"burst": o.Burst, "duels": o.Duels, "patient": o.Patient, "faults": o.Faults, "rounds": o.Rounds} {
		if value < 0 {
			fault(flag, value, "0 at least")
		}
	}
	for flag, value := range map[string]time.Duration{"budget": o.Budget.Duration, "within": o.Within.Duration} {
		if value <= 0 {
			fault(flag, value, "above zero")
		}
	}
	if o.Topology != sidecar && o.Topology != service {
		fault("topology", o.Topology, sidecar+" or "+service)
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	if o.Seed == 0 {
		o.Seed = uint64(time.Now().UnixMilli())
	}
	return errors.Join(faults...)
}

// command is what plays the same plan again.
func (o *options) command() string {
	defaults := defaultOptions()
	length := "BUDGET=" + o.Budget.Duration.String()
	if o.Rounds > 0 {
		length = fmt.Sprintf("ROUNDS=%d", o.Rounds)
	}
	var rest []string
	for _, f := range []struct {
		flag           string
		value, usually any
	}{
		{"slack", o.Slack, defaults.Slack},
		{"workloads", o.Workloads, defaults.Workloads},
		{"burst", o.Burst, defaults.Burst},
		{"nodes", o.Nodes, defaults.Nodes},
		{"duels", o.Duels, defaults.Duels},
		{"patient", o.Patient, defaults.Patient},
		{"faults", o.Faults, defaults.Faults},
		{"within", o.Within.Duration, defaults.Within.Duration},
	} {
		if f.value != f.usually {
			rest = append(rest, fmt.Sprintf("--%s=%v", f.flag, f.value))
		}
	}
	command := fmt.Sprintf("make prove %s SEED=%d TOPOLOGY=%s", length, o.Seed, o.Topology)
	if len(rest) > 0 {
		command += fmt.Sprintf(" PROVE=%q", strings.Join(rest, " "))
	}
	return command
}

func (o *options) limits() check.Limits {
	limits := check.DefaultLimits()
	limits.Use *= time.Duration(o.Slack)
	limits.Answer *= time.Duration(o.Slack)
	return limits
}

func (o *options) size() plan.Size {
	return plan.Size{
		Workloads: o.Workloads, Burst: o.Burst, WideNodes: o.Nodes, TightNodes: o.Duels, Patient: o.Patient, Faults: o.Faults,
		Service: o.Topology == service, Within: o.Within.Duration,
	}
}
