// Package nodes says how full the virtual nodes are, what their Pods are billed as, and why a node takes no more. It
// reads nothing: the caller collects the Pods and Nodes.
package nodes

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/spillway-k8s/spillway/cli/bill"
	"github.com/spillway-k8s/spillway/internal/explain"
	"github.com/spillway-k8s/spillway/internal/prices"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
)

// Input is what the nodes are counted from.
type Input struct {
	Policy *policy.Policy
	// Prices are nil without prices.
	Prices *prices.Table
	// Nodes are the virtual nodes of Spillway, Pods those on them. Others are ignored.
	Nodes []*corev1.Node
	Pods  []*corev1.Pod
	// Unknown says what could not be read.
	Unknown []string
}

// List is the output of "kubectl spillway nodes -o json".
type List struct {
	// Currency is that of the prices, empty without prices.
	Currency string   `json:"currency,omitempty"`
	Nodes    []Node   `json:"virtualNodes"`
	Unknown  []string `json:"unknown,omitempty"`
}

// Node is the load of a virtual node. CPU and memory are requests, as the scheduler counts them.
type Node struct {
	Name string `json:"name"`
	Zone string `json:"zone,omitempty"`
	// State is explain.NodeReady or explain.NodeUnknown, or says why the node takes no new Pods.
	State string `json:"state"`
	// LockedUntil is when the lock of a cloud that is sold out ends, in RFC 3339. It is empty without a lock.
	LockedUntil string `json:"lockedUntil,omitempty"`
	// Pods counts those that have not ended.
	Pods     int                 `json:"pods"`
	Used     corev1.ResourceList `json:"used"`
	Capacity corev1.ResourceList `json:"capacity"`
	// Bill is what these Pods are billed as.
	bill.Bill
	// Problems are the conditions that say what is wrong.
	Problems []Problem `json:"problems,omitempty"`

	sum bill.Sum
}

// Problem is a condition of a Node that says what is wrong.
type Problem struct {
	Type    string `json:"type"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Since is when it began, in RFC 3339.
	Since string `json:"since"`
}

// Names returns the names of nodes.
func Names(all []*corev1.Node) sets.Set[string] {
	names := sets.New[string]()
	for _, node := range all {
		names.Insert(node.Name)
	}
	return names
}

// Count counts. It takes time in proportion to the number of Pods.
func Count(in Input) List {
	byName := map[string]*Node{}
	for _, object := range in.Nodes {
		byName[object.Name] = newNode(object)
	}
	for _, pod := range in.Pods {
		if node := byName[pod.Spec.NodeName]; node != nil && !policy.HasEnded(pod) {
			node.add(pod, bill.Of(in.Policy, in.Prices, pod))
		}
	}
	l := List{Nodes: []Node{}, Unknown: in.Unknown}
	if in.Prices != nil {
		l.Currency = in.Prices.Currency()
	}
	for _, node := range byName {
		node.Bill = node.sum.Bill(in.Prices)
		l.Nodes = append(l.Nodes, *node)
	}
	slices.SortFunc(l.Nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return l
}

func newNode(object *corev1.Node) *Node {
	n := &Node{
		Name: object.Name, Zone: object.Labels[corev1.LabelTopologyZone],
		State: explain.NodeState(object), Used: corev1.ResourceList{},
		Capacity: object.Status.Allocatable,
	}
	until, err := time.Parse(time.RFC3339, object.Annotations[policy.SoldOutUntilAnnotation])
	if err == nil && object.Spec.Unschedulable {
		n.LockedUntil = until.UTC().Format(time.RFC3339)
	}
	for _, c := range object.Status.Conditions {
		// Ready is good if it is true. The other conditions of Nodes are good if they are false.
		if (c.Type == corev1.NodeReady) == (c.Status == corev1.ConditionTrue) {
			continue
		}
		n.Problems = append(n.Problems, Problem{
			Type: string(c.Type), Reason: c.Reason, Message: c.Message,
			Since: c.LastTransitionTime.UTC().Format(time.RFC3339),
		})
	}
	return n
}

func (n *Node) add(pod *corev1.Pod, billed bill.Sum) {
	n.Pods++
	n.sum = n.sum.Plus(billed)
	for name, quantity := range sizes.Need(&pod.Spec) {
		sum := n.Used[name]
		sum.Add(quantity)
		n.Used[name] = sum
	}
}

// Load returns Pods, CPU and memory of the node, each of its capacity, as columns of a table.
func (n Node) Load() string {
	if n.State == explain.NodeUnknown {
		return "-\t-\t-"
	}
	return fmt.Sprintf("%d of %d\t%s of %s\t%s of %s", n.Pods, n.Capacity.Pods().Value(), n.Used.Cpu(),
		n.Capacity.Cpu(), n.Used.Memory(), n.Capacity.Memory())
}

// Text returns the nodes for people.
func (l List) Text() string {
	var b strings.Builder
	if len(l.Nodes) == 0 {
		b.WriteString("The cluster has no virtual node of Spillway.\n")
	} else {
		l.writeTable(&b)
	}
	for _, n := range l.Nodes {
		for _, p := range n.Problems {
			fmt.Fprintf(&b, "\n%s: %s (%s) since %s\n  %s\n", n.Name, p.Type, p.Reason, p.Since, p.Message)
		}
	}
	for _, unknown := range l.Unknown {
		fmt.Fprintf(&b, "\nNot known: %s\n", unknown)
	}
	return explain.Printable(b.String())
}

func (l List) writeTable(b *strings.Builder) {
	table := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	price := ""
	if l.Currency != "" {
		price = l.Currency + "/HOUR\t"
	}
	fmt.Fprintf(table, "VIRTUAL NODE\tZONE\tPODS\tCPU\tMEMORY\tBILLED CPU\tMEMORY\t%sSTATE\n", price)
	for _, n := range l.Nodes {
		if l.Currency != "" {
			price = n.Hour() + "\t"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s%s\n", n.Name, cmp.Or(n.Zone, "-"), n.Load(), n.CPU, n.Memory, price,
			n.State)
	}
	_ = table.Flush() // A strings.Builder never fails.
}
