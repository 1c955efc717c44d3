// Package status counts where the Pods of workloads are, and how full the virtual nodes are. It reads nothing: the
// caller collects the Pods and Nodes.
package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/cli/bill"
	"github.com/spillway-k8s/spillway/cli/nodes"
	"github.com/spillway-k8s/spillway/internal/explain"
	"github.com/spillway-k8s/spillway/internal/prices"
	"github.com/spillway-k8s/spillway/policy"
)

// Input is what a Status is made of.
type Input struct {
	Policy *policy.Policy
	// Prices are nil without prices.
	Prices *prices.Table
	// Pods are those of the namespaces whose workloads are counted.
	Pods []*corev1.Pod
	// Nodes are the virtual nodes of Spillway.
	Nodes []*corev1.Node
	// OnNodes are all Pods on the virtual nodes, nil if Pods has them.
	OnNodes []*corev1.Pod
	// Workload returns the workload that a Pod belongs to, such as "Deployment cart".
	Workload func(*corev1.Pod) string
	// Namespace returns the annotations of a namespace, nil if they are not known. It is nil if none are.
	Namespace func(name string) map[string]string
	// Unknown says what could not be read.
	Unknown []string
}

// Status is the output of "kubectl spillway status -o json".
type Status struct {
	Workloads []Workload `json:"workloads"`
	nodes.List
}

// Workload counts the active Pods of a workload that has a key of Spillway, or a Pod in the cloud.
type Workload struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Quota is how many replicas of a revision may run on local nodes, Floor how many never burst, and CloudMax how
	// many may run in the cloud: those of the revision with the most replicas. They are nil without such a share.
	Quota    *int `json:"quota,omitempty"`
	Floor    *int `json:"floor,omitempty"`
	CloudMax *int `json:"cloudMax,omitempty"`
	// Shares has all of that in a few characters, such as "30% (3), min 2".
	Shares  string `json:"shares,omitempty"`
	Local   int    `json:"local"`
	Cloud   int    `json:"cloud"`
	Waiting int    `json:"waiting"`
	// Bill is what the Pods in the cloud are billed as.
	bill.Bill

	sum       bill.Sum
	revisions map[policy.Revision]*revision
}

// revision counts the replicas of a revision, and has the shares of one of them.
type revision struct {
	replicas int
	shares   policy.Shares
}

// Summarize counts. It takes time in proportion to the number of Pods.
func Summarize(in Input) Status {
	virtual := nodes.Names(in.Nodes)
	workloads := map[[2]string]*Workload{}
	shown := map[[2]string]bool{}
	for _, pod := range in.Pods {
		if policy.HasEnded(pod) {
			continue
		}
		key := [2]string{pod.Namespace, in.Workload(pod)}
		w := workloads[key]
		if w == nil {
			w = &Workload{Namespace: key[0], Name: key[1], revisions: map[policy.Revision]*revision{}}
			workloads[key] = w
		}
		inCloud := virtual.Has(pod.Spec.NodeName)
		inherited := policy.Inherit(pod.Annotations, nil, in.annotations(pod.Namespace))
		w.count(pod, inherited, inCloud)
		if inCloud {
			w.sum = w.sum.Plus(bill.Of(in.Policy, in.Prices, pod))
		}
		shown[key] = shown[key] || inCloud || policy.HasPlacementKeys(pod) || policy.HasShares(inherited)
	}
	loads := nodes.Input{
		Policy: in.Policy, Prices: in.Prices, Nodes: in.Nodes, Pods: in.OnNodes, Unknown: in.Unknown,
	}
	if loads.Pods == nil {
		loads.Pods = in.Pods
	}
	s := Status{Workloads: []Workload{}, List: nodes.Count(loads)}
	for key, w := range workloads {
		if shown[key] {
			w.Bill = w.sum.Bill(in.Prices)
			w.setShares()
			s.Workloads = append(s.Workloads, *w)
		}
	}
	slices.SortFunc(s.Workloads, func(a, b Workload) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return s
}

func (in Input) annotations(namespace string) map[string]string {
	if in.Namespace == nil {
		return nil
	}
	return in.Namespace(namespace)
}

// count counts a Pod. inherited are the InheritedAnnotations that count for it.
func (w *Workload) count(pod *corev1.Pod, inherited map[string]string, inCloud bool) {
	if policy.IsActive(pod) {
		key := policy.RevisionOf(pod)
		r := w.revisions[key]
		if r == nil {
			r = &revision{}
			w.revisions[key] = r
		}
		r.replicas++
		if shares, err := policy.ParseShares(inherited); err == nil && !shares.IsZero() {
			r.shares = shares
		}
	}
	switch {
	case !policy.IsActive(pod):
	case inCloud:
		w.Cloud++
	case pod.Spec.NodeName != "":
		w.Local++
	default:
		w.Waiting++
	}
}

// setShares sets the shares to those of the revision with the most replicas. Of several, it is the one that keeps the
// most replicas on local nodes.
func (w *Workload) setShares() {
	var chosen *revision
	for _, r := range w.revisions {
		if r.shares.IsZero() {
			continue
		}
		if chosen == nil || cmp.Or(cmp.Compare(r.replicas, chosen.replicas),
			cmp.Compare(r.shares.LocalCap(r.replicas), chosen.shares.LocalCap(chosen.replicas)),
			strings.Compare(r.shares.String(), chosen.shares.String())) > 0 {
			chosen = r
		}
	}
	if chosen == nil {
		return
	}
	shares, n := chosen.shares, chosen.replicas
	var parts []string
	add := func(name string, amount policy.Amount, count int) {
		if amount.Percent {
			parts = append(parts, fmt.Sprintf("%s%s (%d)", name, amount, count))
		} else if amount.Set {
			parts = append(parts, name+amount.String())
		}
	}
	add("", shares.LocalReplicas, policy.Shares{LocalReplicas: shares.LocalReplicas}.LocalCap(n))
	add("min ", shares.LocalMin, policy.Shares{LocalMin: shares.LocalMin}.LocalFloor(n))
	add("max ", shares.LocalMax, policy.Shares{LocalMax: shares.LocalMax}.LocalCap(n))
	add("cloud ", shares.CloudMax, shares.CloudCap(n))
	w.Shares = strings.Join(parts, ", ")
	if shares.HasLocalCap() {
		w.Quota = new(shares.LocalCap(n))
	}
	if shares.LocalMin.Set {
		w.Floor = new(shares.LocalFloor(n))
	}
	if shares.CloudMax.Set {
		w.CloudMax = new(shares.CloudCap(n))
	}
}

// Total returns the sum of workloads. It has no name and no quota. table is nil without prices.
func Total(table *prices.Table, workloads []Workload) Workload {
	var total Workload
	for i := range workloads {
		w := &workloads[i]
		total.Local, total.Cloud, total.Waiting = total.Local+w.Local, total.Cloud+w.Cloud, total.Waiting+w.Waiting
		total.sum = total.sum.Plus(w.sum)
	}
	total.Bill = total.sum.Bill(table)
	return total
}

// barWidth is how many characters the bar of a workload has.
const barWidth = 20

// bar draws how many Pods are local, in the cloud and waiting. Each that there is has one character at least.
func (w Workload) bar() string {
	total := w.Local + w.Cloud + w.Waiting
	if total == 0 {
		return ""
	}
	width := func(n int) int {
		if n == 0 {
			return 0
		}
		return max(1, n*barWidth/total)
	}
	repeat := func(mark string, n int) string { return strings.Repeat(mark, width(n)) }
	return repeat("█", w.Local) + repeat("▒", w.Cloud) + repeat("·", w.Waiting)
}

// Text returns the status for people. allNamespaces adds the column of the namespace.
func (s Status) Text(allNamespaces bool) string {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	column := func(namespace string) string {
		if !allNamespaces {
			return ""
		}
		return namespace + "\t"
	}
	if len(s.Workloads) == 0 {
		b.WriteString("No workload has a key of Spillway or a Pod in the cloud.\n")
	} else {
		fmt.Fprintf(table, "%sWORKLOAD\tQUOTA\tLOCAL\tCLOUD\tWAITING\tBILLED CPU\tMEMORY\t%s\n", column("NAMESPACE"),
			"█ LOCAL ▒ CLOUD · WAITING")
	}
	for _, w := range s.Workloads {
		fmt.Fprintf(table, "%s%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\n", column(w.Namespace), w.Name,
			cmp.Or(w.Shares, "-"), w.Local, w.Cloud, w.Waiting, w.CPU, w.Memory, w.bar())
	}
	_ = table.Flush() // A strings.Builder never fails.
	b.WriteString("\n")
	if len(s.Nodes) > 0 {
		fmt.Fprint(table, "VIRTUAL NODE\tPODS\tCPU\tMEMORY\tSTATE\n")
	}
	for _, n := range s.Nodes {
		fmt.Fprintf(table, "%s\t%s\t%s\n", n.Name, n.Load(), n.State)
	}
	_ = table.Flush()
	for _, unknown := range s.Unknown {
		fmt.Fprintf(&b, "\nNot known: %s\n", unknown)
	}
	return explain.Printable(b.String())
}
