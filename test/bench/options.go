package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The parts of the bench: Pods bound per second, the answers of filter with the writing of slots, and the creation of Pods.
const (
	partScheduling = "scheduling"
	partFilter     = "filter"
	partCreation   = "creation"
	partCloud      = "cloud"
)

var parts = []string{partScheduling, partFilter, partCreation, partCloud}

// podsPerNode is how many Pods a local node takes, as a kubelet does by default.
const podsPerNode = 110

// options say how much is measured.
type options struct {
	// Dir holds the cluster while it runs, and its logs afterwards. Default .run/bench.
	Dir string `json:"dir"`
	// BinDir holds the binaries that `make build` makes. Empty, the default, looks for .run/bin upwards.
	BinDir string `json:"binDir"`
	// Document is the page whose tables are rewritten; empty, the default, rewrites none.
	Document string `json:"document"`
	// Parts are what is measured: scheduling, filter, creation, cloud. Default all; what is left out keeps its figures on the page.
	Parts []string `json:"parts"`
	// Rounds is how often each case of the throughput is measured, one case after another in each round. Default 3.
	Rounds int `json:"rounds"`
	// Calm is how long a measurement of the throughput waits for other work on the machine to end before it begins regardless. More gives
	// better figures on a machine that others use now and then. Default 30s.
	Calm metav1.Duration `json:"calm"`
	// Cases are the cases of the throughput to measure. Default all.
	Cases []string `json:"cases"`
	// Nodes and VirtualNodes are what Pods are scheduled to. Default 1000 and 3.
	Nodes        int `json:"nodes"`
	VirtualNodes int `json:"virtualNodes"`
	// Pods is how many Pods wait when the scheduler starts, spread evenly over Revisions. Default 3000 and 30.
	Pods      int `json:"pods"`
	Revisions int `json:"revisions"`
	// Quota is how many of a revision stay on local nodes in the case with quotas. Default 20.
	Quota int `json:"quota"`
	// Names are the numbers of node names that filter is asked with. Default 100, 1000, 5000.
	Names []int `json:"names"`
	// Asks is how often filter is asked for each number of names, kind of Pod and extender. Default 600.
	Asks int `json:"asks"`
	// Cloud is how many Pods run in the cloud on how many virtual nodes, PODS/NODES for each case. Default 3000/1, 10000/4.
	Cloud []string `json:"cloud"`
	// Writes is how many slots are written. Default 300.
	Writes int `json:"writes"`
	// Creates is how many Pods are created one after another in each case of the creation, and five times as many 20 at once. Default 600.
	Creates int `json:"creates"`
}

// measures tells whether the part is measured.
func (o *options) measures(part string) bool { return slices.Contains(o.Parts, part) }

func defaultOptions() *options {
	return &options{
		Dir: ".run/bench", Parts: slices.Clone(parts), Rounds: 3, Calm: metav1.Duration{Duration: 30 * time.Second}, Cases: caseKeys(), Nodes: 1000, VirtualNodes: 3, Pods: 3000, Revisions: 30, Quota: 20,
		Cloud: []string{"3000/1", "10000/4"},
		Names: []int{100, 1000, 5000}, Asks: 600, Writes: 300, Creates: 600,
	}
}

// AddFlags binds the fields.
func (o *options) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.Dir, "dir", o.Dir, "`directory` of the cluster, which is emptied but for its logs")
	flags.StringVar(&o.BinDir, "bin-dir", o.BinDir, "`directory` of the binaries that make build makes; empty looks for .run/bin upwards")
	flags.StringVar(&o.Document, "document", o.Document, "`page` whose tables are rewritten; empty rewrites none")
	flags.StringSliceVar(&o.Parts, "parts", o.Parts, "what is measured; the rest keeps its figures on the page")
	flags.IntVar(&o.Rounds, "rounds", o.Rounds, "how often each case of the throughput is measured")
	flags.DurationVar(&o.Calm.Duration, "calm", o.Calm.Duration, "how long a measurement of the throughput waits for other work to end")
	flags.StringSliceVar(&o.Cases, "cases", o.Cases, "cases of the throughput to measure")
	flags.IntVar(&o.Nodes, "nodes", o.Nodes, "local nodes")
	flags.IntVar(&o.VirtualNodes, "virtual-nodes", o.VirtualNodes, "virtual nodes")
	flags.IntVar(&o.Pods, "pods", o.Pods, "Pods that wait when the scheduler starts")
	flags.IntVar(&o.Revisions, "revisions", o.Revisions, "ReplicaSets that the Pods belong to")
	flags.IntVar(&o.Quota, "quota", o.Quota, "replicas of a revision that stay on local nodes")
	flags.IntSliceVar(&o.Names, "names", o.Names, "numbers of node names that filter is asked with")
	flags.IntVar(&o.Asks, "asks", o.Asks, "how often filter is asked for each number of names, kind of Pod and extender")
	flags.StringSliceVar(&o.Cloud, "cloud", o.Cloud, "`PODS/NODES` to run in the cloud")
	flags.IntVar(&o.Writes, "writes", o.Writes, "slots that are written")
	flags.IntVar(&o.Creates, "creates", o.Creates, "Pods created one after another in each case of the creation, and five times as many 20 at once")
}

// Validate reports every fault at once.
func (o *options) Validate() error {
	var faults []error
	fault := func(flag string, value any, right string, args ...any) {
		faults = append(faults, fmt.Errorf("--%s: invalid value %v: must be %s", flag, value, fmt.Sprintf(right, args...)))
	}
	if o.Dir == "" {
		fault("dir", `""`, "a directory")
	}
	for flag, value := range map[string]int{
		"rounds": o.Rounds, "nodes": o.Nodes, "virtual-nodes": o.VirtualNodes, "revisions": o.Revisions, "quota": o.Quota,
		"asks": o.Asks, "writes": o.Writes, "creates": o.Creates,
	} {
		if value < 1 {
			fault(flag, value, "1 at least")
		}
	}
	if o.Calm.Duration < 0 {
		fault("calm", o.Calm.Duration, "0s at least")
	}
	for _, text := range o.Cloud {
		if _, err := parseCloudCase(text); err != nil {
			faults = append(faults, fmt.Errorf("--cloud: %w", err))
		}
	}
	for _, part := range o.Parts {
		if !slices.Contains(parts, part) {
			fault("parts", part, "one of %s", strings.Join(parts, ", "))
		}
	}
	if len(o.Parts) == 0 {
		fault("parts", "[]", "one part at least")
	}
	for _, key := range o.Cases {
		if !slices.Contains(caseKeys(), key) {
			fault("cases", key, "one of %s", strings.Join(caseKeys(), ", "))
		}
	}
	for _, names := range o.Names {
		if names <= o.VirtualNodes {
			fault("names", names, "above the number of virtual nodes, %d", o.VirtualNodes)
		}
	}
	if len(o.Names) == 0 {
		fault("names", "[]", "one number at least")
	}
	if o.Revisions > 0 && (o.Pods < 2 || o.Pods%o.Revisions != 0 || o.Pods/o.Revisions <= o.Quota) {
		fault("pods", o.Pods, "a multiple of the %d revisions, with more Pods in each than the quota of %d", o.Revisions, o.Quota)
	}
	if o.Pods > o.Nodes*podsPerNode {
		fault("pods", o.Pods, "%d at most, which fit on %d local nodes", o.Nodes*podsPerNode, o.Nodes)
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(faults...)
}
