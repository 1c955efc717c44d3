package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/day"
)

// The parts of the benchmark: Pods bound per second, the response time of filter with the cost of slots, the creation
// of Pods, the cloud, and a day with and without the way home.
const (
	partScheduling = "scheduling"
	partFilter     = "filter"
	partCreation   = "creation"
	partCloud      = "cloud"
	partDay        = "day"
)

var parts = []string{partScheduling, partFilter, partCreation, partCloud, partDay}

// podsPerNode is the number of Pods of a local node, which is the default of a kubelet.
const podsPerNode = 110

// options determine how much is measured.
type options struct {
	// Dir is the directory of the cluster. Its logs remain afterwards. Default .run/bench.
	Dir string `json:"dir"`
	// BinDir contains the binaries that `make build` builds. By default .run/bin is searched for in the parents.
	BinDir string `json:"binDir"`
	// Document is the page whose tables are updated. By default no page is updated.
	Document string `json:"document"`
	// History is the CSV file to which the figures are added that the document shows. Default docs/benchmarks/history.csv.
	History string `json:"history"`
	// Commit is what is measured. It is written beside the figures. Default "unknown".
	Commit string `json:"commit"`
	// MaxOthers is the share of the machine, from 0 to 1, that other work may use while a part is measured whose figures
	// are written. Default 0.1.
	MaxOthers float64 `json:"maxOthers"`
	// Check makes the command fail if a ratio is outside its range (ranges.yaml).
	Check bool `json:"check"`
	// Parts are the parts to measure: scheduling, filter, creation, cloud, day. Default all. The page keeps the figures
	// of others.
	Parts []string `json:"parts"`
	// Rounds is how often each case of the throughput is measured. Each round measures all cases. Default 3.
	Rounds int `json:"rounds"`
	// Calm is how long a measurement of the throughput waits for other work on the machine to end. Then it starts
	// anyway. A higher value gives better figures on a machine with occasional other work. Default 30s.
	Calm metav1.Duration `json:"calm"`
	// Cases are the cases of the throughput to measure. Default all.
	Cases []string `json:"cases"`
	// Nodes and VirtualNodes are the numbers of local and virtual nodes. Default 1000 and 3.
	Nodes        int `json:"nodes"`
	VirtualNodes int `json:"virtualNodes"`
	// Pods is the number of Pods that wait when the scheduler starts, evenly divided over Revisions. Default 3000 and
	// 30.
	Pods      int `json:"pods"`
	Revisions int `json:"revisions"`
	// Quota is the number of replicas of a revision on local nodes in the case with quotas. Default 20.
	Quota int `json:"quota"`
	// Names are the numbers of node names with which filter is called. Default 100, 1000, 5000.
	Names []int `json:"names"`
	// Asks is how often filter is called for each number of names, kind of Pod and extender. Default 600.
	Asks int `json:"asks"`
	// Cloud is the number of Pods and of virtual nodes of each case of the cloud, PODS/NODES. Default 3000/1, 10000/4.
	Cloud []string `json:"cloud"`
	// Writes is the number of slots that are written. Default 300.
	Writes int `json:"writes"`
	// Creates is the number of Pods created one after another in each case of the creation. Five times as many are
	// created with a concurrency of 20. Default 600.
	Creates int `json:"creates"`
	// Day is how long the day of 24 hours takes that is played twice, and Seed decides its load. Default 4m and 1.
	Day  metav1.Duration `json:"day"`
	Seed uint64          `json:"seed"`
}

// measures reports whether the part is measured.
func (o *options) measures(part string) bool { return slices.Contains(o.Parts, part) }

func defaultOptions() *options {
	return &options{
		Dir: ".run/bench", History: "docs/benchmarks/history.csv", Commit: "unknown", MaxOthers: busyWithOthers,
		Parts: slices.Clone(parts), Rounds: 3, Calm: metav1.Duration{Duration: 30 * time.Second},
		Cases: caseKeys(), Nodes: 1000, VirtualNodes: 3, Pods: 3000, Revisions: 30, Quota: 20,
		Cloud: []string{"3000/1", "10000/4"},
		Names: []int{100, 1000, 5000}, Asks: 600, Writes: 300, Creates: 600,
		Day: metav1.Duration{Duration: 4 * time.Minute}, Seed: 1,
	}
}

// AddFlags defines a flag for each field.
func (o *options) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.Dir, "dir", o.Dir, "`directory` of the cluster; all but its logs is deleted")
	flags.StringVar(&o.BinDir, "bin-dir", o.BinDir,
		"`directory` of the binaries of make build; if empty, .run/bin is searched for in the parents")
	flags.StringVar(&o.Document, "document", o.Document, "`page` whose tables are updated; empty updates none")
	flags.StringVar(&o.History, "history", o.History, "`file` to which the figures are added that the page shows")
	flags.StringVar(&o.Commit, "commit", o.Commit, "`commit` that is measured, for the page and the history")
	flags.Float64Var(&o.MaxOthers, "max-others", o.MaxOthers,
		"share of the machine, from 0 to 1, that other work may use while figures are measured that the page shows")
	flags.BoolVar(&o.Check, "check", o.Check, "fail if a ratio to a floor is outside its range")
	flags.StringSliceVar(&o.Parts, "parts", o.Parts, "parts to measure; the page keeps the figures of others")
	flags.IntVar(&o.Rounds, "rounds", o.Rounds, "how often each case of the throughput is measured")
	flags.DurationVar(&o.Calm.Duration, "calm", o.Calm.Duration,
		"how long a measurement of the throughput waits for other work to end")
	flags.StringSliceVar(&o.Cases, "cases", o.Cases, "cases of the throughput to measure")
	flags.IntVar(&o.Nodes, "nodes", o.Nodes, "local nodes")
	flags.IntVar(&o.VirtualNodes, "virtual-nodes", o.VirtualNodes, "virtual nodes")
	flags.IntVar(&o.Pods, "pods", o.Pods, "Pods that wait when the scheduler starts")
	flags.IntVar(&o.Revisions, "revisions", o.Revisions, "ReplicaSets of the Pods")
	flags.IntVar(&o.Quota, "quota", o.Quota, "local replicas of a revision")
	flags.IntSliceVar(&o.Names, "names", o.Names, "numbers of node names with which filter is called")
	flags.IntVar(&o.Asks, "asks", o.Asks, "calls of filter for each number of names, kind of Pod and extender")
	flags.StringSliceVar(&o.Cloud, "cloud", o.Cloud, "`PODS/NODES` to run in the cloud")
	flags.IntVar(&o.Writes, "writes", o.Writes, "slots to write")
	flags.IntVar(&o.Creates, "creates", o.Creates,
		"Pods created one after another in each case of the creation, and five times as many with a concurrency of 20")
	flags.DurationVar(&o.Day.Duration, "day", o.Day.Duration, "how long a day of 24 hours takes, which is played twice")
	flags.Uint64Var(&o.Seed, "seed", o.Seed, "seed of the load of the day")
}

// Validate reports all errors at once.
func (o *options) Validate() error {
	var errs []error
	invalid := func(flag string, value any, right string, args ...any) {
		errs = append(errs, fmt.Errorf("--%s: invalid value %v: must be %s", flag, value, fmt.Sprintf(right, args...)))
	}
	if o.Dir == "" {
		invalid("dir", `""`, "a directory")
	}
	for flag, value := range map[string]int{
		"rounds": o.Rounds, "nodes": o.Nodes, "virtual-nodes": o.VirtualNodes, "revisions": o.Revisions,
		"quota": o.Quota, "asks": o.Asks, "writes": o.Writes, "creates": o.Creates,
	} {
		if value < 1 {
			invalid(flag, value, "at least 1")
		}
	}
	if o.Document != "" && o.History == "" {
		invalid("history", `""`, "a file, if --document is set")
	}
	if !(o.MaxOthers >= 0 && o.MaxOthers <= 1) {
		invalid("max-others", o.MaxOthers, "from 0 to 1")
	}
	if o.Calm.Duration < 0 {
		invalid("calm", o.Calm.Duration, "at least 0s")
	}
	for _, text := range o.Cloud {
		if _, err := parseCloudCase(text); err != nil {
			errs = append(errs, fmt.Errorf("--cloud: %w", err))
		}
	}
	if err := (day.Config{Length: o.Day.Duration}).Validate(); err != nil {
		errs = append(errs, fmt.Errorf("--day: %w", err))
	}
	for _, part := range o.Parts {
		if !slices.Contains(parts, part) {
			invalid("parts", part, "one of %s", strings.Join(parts, ", "))
		}
	}
	if len(o.Parts) == 0 {
		invalid("parts", "[]", "at least one part")
	}
	for _, key := range o.Cases {
		if !slices.Contains(caseKeys(), key) {
			invalid("cases", key, "one of %s", strings.Join(caseKeys(), ", "))
		}
	}
	for _, names := range o.Names {
		if names <= o.VirtualNodes {
			invalid("names", names, "greater than the number of virtual nodes, %d", o.VirtualNodes)
		}
	}
	if len(o.Names) == 0 {
		invalid("names", "[]", "at least one number")
	}
	if o.Revisions > 0 && (o.Pods < 2 || o.Pods%o.Revisions != 0 || o.Pods/o.Revisions <= o.Quota) {
		invalid("pods", o.Pods, "a multiple of the %d revisions, with more Pods in each than the quota of %d",
			o.Revisions, o.Quota)
	}
	if o.Pods > o.Nodes*podsPerNode {
		invalid("pods", o.Pods, "at most %d, which fit on %d local nodes", o.Nodes*podsPerNode, o.Nodes)
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}
