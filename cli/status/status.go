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

	"github.com/spillway-k8s/spillway/internal/explain"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
)

// Input is what a Status is made of.
type Input struct {
	Policy *policy.Policy
	Pods   []*corev1.Pod
	// Nodes are the virtual nodes of Spillway.
	Nodes []*corev1.Node
	// Workload returns the workload that a Pod belongs to, such as "Deployment cart".
	Workload func(*corev1.Pod) string
	// Unknown says what could not be read.
	Unknown []string
}

// Status is the output of "kubectl spillway status -o json".
type Status struct {
	Workloads []Workload `json:"workloads"`
	Nodes     []Node     `json:"virtualNodes"`
	Unknown   []string   `json:"unknown,omitempty"`
}

// Workload counts the active Pods of a workload that has a key of Spillway, or a Pod in the cloud.
type Workload struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Quota is the local quota of a revision, nil without one. If revisions differ, it is the largest.
	Quota   *int `json:"quota,omitempty"`
	Local   int  `json:"local"`
	Cloud   int  `json:"cloud"`
	Waiting int  `json:"waiting"`
	// CPU and Memory are what the Pods in the cloud are billed as.
	CPU    string `json:"billedCPU"`
	Memory string `json:"billedMemory"`

	use policy.CloudUse
}

// Ready is the State of a virtual node that takes Pods.
const Ready = "ready"

// Node is the load of a virtual node. CPU and memory are requests, as the scheduler counts them.
type Node struct {
	Name string `json:"name"`
	// State is Ready, or says why the node takes no new Pods.
	State    string              `json:"state"`
	Pods     int                 `json:"pods"`
	Used     corev1.ResourceList `json:"used"`
	Capacity corev1.ResourceList `json:"capacity"`
}

// Summarize counts. It takes time in proportion to the number of Pods.
func Summarize(in Input) Status {
	nodes := map[string]*Node{}
	for _, node := range in.Nodes {
		nodes[node.Name] = &Node{
			Name: node.Name, State: cmp.Or(explain.NodeState(node), Ready), Capacity: node.Status.Allocatable,
			Used: corev1.ResourceList{},
		}
	}
	workloads := map[[2]string]*Workload{}
	shown := map[[2]string]bool{}
	for _, pod := range in.Pods {
		if policy.HasEnded(pod) {
			continue
		}
		key := [2]string{pod.Namespace, in.Workload(pod)}
		w := workloads[key]
		if w == nil {
			w = &Workload{Namespace: key[0], Name: key[1]}
			workloads[key] = w
		}
		node := nodes[pod.Spec.NodeName]
		w.add(in.Policy, pod, node != nil)
		if node != nil {
			node.add(pod)
		}
		shown[key] = shown[key] || node != nil || policy.HasPlacementKeys(pod)
	}
	s := Status{Workloads: []Workload{}, Nodes: []Node{}, Unknown: in.Unknown}
	for key, w := range workloads {
		if shown[key] {
			resources := w.use.Resources()
			w.CPU, w.Memory = resources.Cpu().String(), resources.Memory().String()
			s.Workloads = append(s.Workloads, *w)
		}
	}
	slices.SortFunc(s.Workloads, func(a, b Workload) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	for _, node := range nodes {
		s.Nodes = append(s.Nodes, *node)
	}
	slices.SortFunc(s.Nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return s
}

func (w *Workload) add(rules *policy.Policy, pod *corev1.Pod, inCloud bool) {
	quota, ok, err := policy.ParseLocalReplicas(pod.Annotations)
	if ok && err == nil && (w.Quota == nil || quota > *w.Quota) {
		w.Quota = &quota
	}
	if inCloud {
		// A terminating Pod is billed until it is gone. Without a size the cloud does not run the Pod.
		if use, err := rules.CloudUse(pod); err == nil {
			w.use = w.use.Plus(use)
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

// Total returns the sum of workloads. It has no name and no quota.
func Total(workloads []Workload) Workload {
	var total Workload
	for i := range workloads {
		w := &workloads[i]
		total.Local, total.Cloud, total.Waiting = total.Local+w.Local, total.Cloud+w.Cloud, total.Waiting+w.Waiting
		total.use = total.use.Plus(w.use)
	}
	resources := total.use.Resources()
	total.CPU, total.Memory = resources.Cpu().String(), resources.Memory().String()
	return total
}

func (n *Node) add(pod *corev1.Pod) {
	n.Pods++
	for name, quantity := range sizes.Need(&pod.Spec) {
		sum := n.Used[name]
		sum.Add(quantity)
		n.Used[name] = sum
	}
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
		quota := "-"
		if w.Quota != nil {
			quota = fmt.Sprint(*w.Quota)
		}
		fmt.Fprintf(table, "%s%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\n", column(w.Namespace), w.Name, quota, w.Local, w.Cloud,
			w.Waiting, w.CPU, w.Memory, w.bar())
	}
	_ = table.Flush() // A strings.Builder never fails.
	b.WriteString("\n")
	if len(s.Nodes) > 0 {
		fmt.Fprint(table, "VIRTUAL NODE\tPODS\tCPU\tMEMORY\tSTATE\n")
	}
	for _, n := range s.Nodes {
		fmt.Fprintf(table, "%s\t%d of %d\t%s of %s\t%s of %s\t%s\n", n.Name, n.Pods, n.Capacity.Pods().Value(),
			n.Used.Cpu(), n.Capacity.Cpu(), n.Used.Memory(), n.Capacity.Memory(), n.State)
	}
	_ = table.Flush()
	for _, unknown := range s.Unknown {
		fmt.Fprintf(&b, "\nNot known: %s\n", unknown)
	}
	return explain.Printable(b.String())
}
