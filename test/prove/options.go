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

// options determine what is played.
type options struct {
	// Seed generates the plan. The default, 0, takes a seed from the clock.
	Seed uint64 `json:"seed"`
	// Budget is how long new rounds begin. The last round is completed, which takes about a minute more. Default 5m.
	Budget metav1.Duration `json:"budget"`
	// Rounds is the number of rounds, and overrides the budget. The default, 0, uses the budget.
	Rounds int `json:"rounds"`
	// Dir is the directory of the trial system. Its logs remain afterwards. Default .run/prove.
	Dir string `json:"dir"`
	// BinDir contains the binaries that `make build` builds. By default .run/bin is searched for in the parents.
	BinDir string `json:"binDir"`
	// Record is the file for the record. Default .run/prove.jsonl.
	Record string `json:"record"`
	// Document is the page whose figures are updated if all promises were kept. By default no page is updated.
	Document string `json:"document"`
	// Figures is a file that receives the most important figures as JSON if all promises were kept. By default none.
	Figures string `json:"figures"`
	// Kubernetes is the version of the control plane, such as 1.34. The default, empty, is the newest.
	Kubernetes string `json:"kubernetes"`
	// Check is a record to check again. Nothing is played then.
	Check string `json:"check"`
	// Slack multiplies the time limits of I3 and I7, for a busy machine. Default 1.
	Slack int `json:"slack"`
	// Topology is how the scheduler reaches the extender: "sidecar", the default, or "service".
	Topology string `json:"topology"`
	// Workloads is the number of concurrent histories of a round, at least 1 in addition to duels and burst. Default
	// 75.
	Workloads int `json:"workloads"`
	// Burst is the number of replicas of the one workload of a round that creates them all at once, or 0. Default 200.
	Burst int `json:"burst"`
	// Nodes is the number of large local nodes. From 100 nodes on, the scheduler samples by default. Default 100.
	Nodes int `json:"nodes"`
	// Duels is the number of pairs of workloads of a round that compete for a small node. Default 4.
	Duels int `json:"duels"`
	// Crowds is the number of workloads of a round that wait for room on a small node of their own. Default 6.
	Crowds int `json:"crowds"`
	// Returning is the number of workloads of a round whose cloud Pods return. Default 4.
	Returning int `json:"returning"`
	// Patient is the number of workloads of a round that come last and wait for slots that become free. Default 4.
	Patient int `json:"patient"`
	// Faults is how often each fault occurs in a round that is not calm. Default 2.
	Faults int `json:"faults"`
	// Within is the time in which a round starts its histories. Default 30s.
	Within metav1.Duration `json:"within"`
}

// Values of Topology.
const (
	sidecar = "sidecar"
	service = "service"
)

func defaultOptions() *options {
	return &options{
		Budget: metav1.Duration{Duration: 5 * time.Minute}, Dir: ".run/prove", Record: ".run/prove.jsonl", Slack: 1,
		Topology:  sidecar,
		Workloads: 75, Burst: 200, Nodes: 100, Duels: 4, Crowds: 6, Returning: 4, Patient: 4, Faults: 2,
		Within: metav1.Duration{Duration: 30 * time.Second},
	}
}

// AddFlags defines a flag for each field.
func (o *options) AddFlags(flags *pflag.FlagSet) {
	flags.Uint64Var(&o.Seed, "seed", o.Seed, "seed of the plan; 0 takes one from the clock")
	flags.DurationVar(&o.Budget.Duration, "budget", o.Budget.Duration, "how long new rounds begin")
	flags.IntVar(&o.Rounds, "rounds", o.Rounds, "number of rounds; overrides the budget unless it is 0")
	flags.StringVar(&o.Dir, "dir", o.Dir, "`directory` of the trial system; all but its logs is deleted")
	flags.StringVar(&o.BinDir, "bin-dir", o.BinDir,
		"`directory` of the binaries of make build; if empty, .run/bin is searched for in the parents")
	flags.StringVar(&o.Record, "record", o.Record, "`file` for the record")
	flags.StringVar(&o.Document, "document", o.Document,
		"`page` whose figures are updated if all promises were kept; empty updates none")
	flags.StringVar(&o.Figures, "figures", o.Figures, "`file` for the most important figures; empty for none")
	flags.StringVar(&o.Kubernetes, "kubernetes", o.Kubernetes, "version of the control plane; empty for the newest")
	flags.StringVar(&o.Check, "check", o.Check, "`file` of a record to check again; nothing is played")
	flags.IntVar(&o.Slack, "slack", o.Slack, "multiplier of the time limits of I3 and I7")
	flags.StringVar(&o.Topology, "topology", o.Topology,
		"sidecar, or service: two extenders that elect a leader, over mutual TLS")
	flags.IntVar(&o.Workloads, "workloads", o.Workloads, "concurrent histories of a round")
	flags.IntVar(&o.Burst, "burst", o.Burst, "replicas of the workload that creates them all at once; 0 for none")
	flags.IntVar(&o.Nodes, "nodes", o.Nodes, "large local nodes")
	flags.IntVar(&o.Duels, "duels", o.Duels, "pairs of workloads that compete for a small node")
	flags.IntVar(&o.Crowds, "crowds", o.Crowds, "workloads that wait for room on a small node of their own")
	flags.IntVar(&o.Returning, "returning", o.Returning, "workloads whose cloud Pods return")
	flags.IntVar(&o.Patient, "patient", o.Patient, "workloads that come last and wait for slots")
	flags.IntVar(&o.Faults, "faults", o.Faults, "how often each fault occurs in a round that is not calm")
	flags.DurationVar(&o.Within.Duration, "within", o.Within.Duration, "time in which a round starts its histories")
}

// Validate reports all errors at once. It chooses a seed if there is none.
func (o *options) Validate() error {
	var errs []error
	invalid := func(flag string, value any, right string) {
		errs = append(errs, fmt.Errorf("--%s: invalid value %v: must be %s", flag, value, right))
	}
	for flag, value := range map[string]string{"dir": o.Dir, "record": o.Record} {
		if value == "" {
			invalid(flag, `""`, "a path")
		}
	}
	for flag, value := range map[string]int{"workloads": o.Workloads, "nodes": o.Nodes, "slack": o.Slack} {
		if value < 1 {
			invalid(flag, value, "at least 1")
		}
	}
	for flag, value := range map[string]int{
		"burst": o.Burst, "duels": o.Duels, "crowds": o.Crowds, "returning": o.Returning, "patient": o.Patient,
		"faults": o.Faults, "rounds": o.Rounds,
	} {
		if value < 0 {
			invalid(flag, value, "at least 0")
		}
	}
	for flag, value := range map[string]time.Duration{"budget": o.Budget.Duration, "within": o.Within.Duration} {
		if value <= 0 {
			invalid(flag, value, "greater than 0")
		}
	}
	if o.Topology != sidecar && o.Topology != service {
		invalid("topology", o.Topology, sidecar+" or "+service)
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	if o.Seed == 0 {
		o.Seed = uint64(time.Now().UnixMilli())
	}
	return errors.Join(errs...)
}

// command returns the command that plays the same plan again.
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
		{"crowds", o.Crowds, defaults.Crowds},
		{"returning", o.Returning, defaults.Returning},
		{"patient", o.Patient, defaults.Patient},
		{"faults", o.Faults, defaults.Faults},
		{"within", o.Within.Duration, defaults.Within.Duration},
	} {
		if f.value != f.usually {
			rest = append(rest, fmt.Sprintf("--%s=%v", f.flag, f.value))
		}
	}
	command := fmt.Sprintf("make prove %s SEED=%d TOPOLOGY=%s", length, o.Seed, o.Topology)
	if o.Kubernetes != "" {
		command += " K8S=" + o.Kubernetes
	}
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
		Workloads: o.Workloads, Burst: o.Burst, WideNodes: o.Nodes, TightNodes: o.Duels + o.Crowds, Crowds: o.Crowds,
		Returning: o.Returning, Patient: o.Patient, Faults: o.Faults,
		Service: o.Topology == service, Within: o.Within.Duration,
	}
}
