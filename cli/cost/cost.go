// Package cost says what the Pods in the cloud cost, by namespace and workload, and how many of them local nodes have
// room for. It reads nothing: the caller collects the Pods and Nodes.
package cost

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/spillway-k8s/spillway/cli/bill"
	"github.com/spillway-k8s/spillway/cli/nodes"
	"github.com/spillway-k8s/spillway/internal/explain"
	"github.com/spillway-k8s/spillway/internal/prices"
	"github.com/spillway-k8s/spillway/policy"
)

// Input is what a Cost is counted from.
type Input struct {
	Policy *policy.Policy
	// Prices are nil without prices.
	Prices *prices.Table
	// Pods are those of the namespaces that are asked for.
	Pods []*corev1.Pod
	// Virtual are the virtual nodes of Spillway.
	Virtual []*corev1.Node
	// Cluster is what the room on local nodes is counted from, nil if it is not known.
	Cluster *Cluster
	// Workload returns the workload that a Pod belongs to, such as "Deployment cart".
	Workload func(*corev1.Pod) string
	// Namespace returns the annotations of a namespace, nil if they are not known. It is nil if none are.
	Namespace func(name string) map[string]string
	// Unknown says what could not be read.
	Unknown []string
}

// Cluster has all Nodes and all Pods.
type Cluster struct {
	Nodes []*corev1.Node
	Pods  []*corev1.Pod
}

// Cost is the output of "kubectl spillway cost -o json".
type Cost struct {
	// Currency is that of the prices, empty without prices.
	Currency   string      `json:"currency,omitempty"`
	Workloads  []Workload  `json:"workloads"`
	Namespaces []Namespace `json:"namespaces"`
	Total      Line        `json:"total"`
	Unknown    []string    `json:"unknown,omitempty"`
}

// Workload is what the Pods of a workload cost.
type Workload struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Line
}

// Namespace is what the Pods of a namespace cost.
type Namespace struct {
	Name string `json:"name"`
	Line
}

// Line is what some Pods in the cloud cost.
type Line struct {
	// Pods counts the Pods on virtual nodes that have not ended.
	Pods int `json:"pods"`
	bill.Bill
	// FitLocally is how many of them local nodes have room for, with what these are billed as; nil if it is not
	// known.
	FitLocally *Fit `json:"fitLocally,omitempty"`

	sum, fit bill.Sum
	fits     int
}

// Fit is what local nodes have room for.
type Fit struct {
	Pods int `json:"pods"`
	bill.Bill
}

func (l *Line) add(billed bill.Sum, fits bool) {
	l.Pods++
	l.sum = l.sum.Plus(billed)
	if fits {
		l.fits++
		l.fit = l.fit.Plus(billed)
	}
}

func (l *Line) plus(other Line) {
	l.Pods, l.fits = l.Pods+other.Pods, l.fits+other.fits
	l.sum, l.fit = l.sum.Plus(other.sum), l.fit.Plus(other.fit)
}

func (l *Line) finish(in Input) {
	l.Bill = l.sum.Bill(in.Prices)
	if in.Cluster != nil {
		l.FitLocally = &Fit{l.fits, l.fit.Bill(in.Prices)}
	}
}

// Summarize sums up. It takes time in proportion to the number of Pods, and to that of the Pods in the cloud times the
// local nodes.
func Summarize(in Input) Cost {
	c := Cost{Workloads: []Workload{}, Namespaces: []Namespace{}, Unknown: in.Unknown}
	if in.Prices != nil {
		c.Currency = in.Prices.Currency()
	}
	virtual := nodes.Names(in.Virtual)
	var local room
	if in.Cluster != nil {
		local = newRoom(in.Cluster.Nodes, in.Cluster.Pods)
	}
	free := freeSlots(in, virtual)
	for _, pod := range inCloud(in, virtual) {
		name := in.Workload(pod)
		n := len(c.Workloads)
		if n == 0 || c.Workloads[n-1].Namespace != pod.Namespace || c.Workloads[n-1].Name != name {
			c.Workloads = append(c.Workloads, Workload{Namespace: pod.Namespace, Name: name})
		}
		fits := free.allow(pod) && local.take(pod)
		if fits {
			free.take(pod)
		}
		c.Workloads[len(c.Workloads)-1].add(bill.Of(in.Policy, in.Prices, pod), fits)
	}
	for i := range c.Workloads {
		w := &c.Workloads[i]
		if n := len(c.Namespaces); n == 0 || c.Namespaces[n-1].Name != w.Namespace {
			c.Namespaces = append(c.Namespaces, Namespace{Name: w.Namespace})
		}
		c.Namespaces[len(c.Namespaces)-1].plus(w.Line)
		c.Total.plus(w.Line)
		w.finish(in)
	}
	for i := range c.Namespaces {
		c.Namespaces[i].finish(in)
	}
	c.Total.finish(in)
	return c
}

// inCloud returns the Pods on virtual nodes that have not ended, by namespace, workload and name.
func inCloud(in Input, virtual sets.Set[string]) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, pod := range in.Pods {
		if virtual.Has(pod.Spec.NodeName) && !policy.HasEnded(pod) {
			pods = append(pods, pod)
		}
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(in.Workload(a), in.Workload(b)),
			strings.Compare(a.Name, b.Name))
	})
	return pods
}

// slots are how many local slots the shares of each revision leave. A revision that is not in the map has no limit on
// local nodes.
type slots map[policy.Revision]int

func freeSlots(in Input, virtual sets.Set[string]) slots {
	type count struct {
		replicas, local int
		shares          policy.Shares
	}
	counts := map[policy.Revision]*count{}
	for _, pod := range in.Pods {
		if !policy.IsActive(pod) {
			continue
		}
		revision := policy.RevisionOf(pod)
		c := counts[revision]
		if c == nil {
			c = &count{}
			counts[revision] = c
		}
		c.replicas++
		if policy.HoldsLocalSlot(pod, virtual.Has(pod.Spec.NodeName)) {
			c.local++
		}
		var namespace map[string]string
		if in.Namespace != nil {
			namespace = in.Namespace(pod.Namespace)
		}
		if shares, err := policy.ParseShares(policy.Inherit(pod.Annotations, nil, namespace)); err == nil &&
			shares.HasLocalCap() {
			c.shares = shares
		}
	}
	free := slots{}
	for revision, c := range counts {
		if c.shares.HasLocalCap() {
			free[revision] = c.shares.LocalCap(c.replicas) - c.local
		}
	}
	return free
}

// allow reports whether the Pod may run on a local node: it does not require the cloud, and its quota has a slot left.
// A Pod that is terminating goes nowhere.
func (s slots) allow(pod *corev1.Pod) bool {
	mode, err := policy.ParseMode(pod.Labels)
	free, limited := s[policy.RevisionOf(pod)]
	return policy.IsActive(pod) && (err != nil || mode != policy.ModeEnforce) && (!limited || free > 0)
}

func (s slots) take(pod *corev1.Pod) {
	if revision := policy.RevisionOf(pod); s[revision] > 0 {
		s[revision]--
	}
}

// howToPrice is what the text says without prices.
const howToPrice = "\nThere are no prices: an administrator sets prices.currency and prices.generalComputing in the " +
	"values of the chart.\n"

// Text returns the cost for people. allNamespaces adds a line for each namespace.
func (c Cost) Text(allNamespaces bool) string {
	var b strings.Builder
	if len(c.Workloads) == 0 {
		b.WriteString("No Pod is in the cloud.\n")
	} else {
		c.writeTable(&b, allNamespaces)
	}
	if c.Currency == "" {
		b.WriteString(howToPrice)
	}
	for _, unknown := range c.Unknown {
		fmt.Fprintf(&b, "\nNot known: %s\n", unknown)
	}
	return explain.Printable(b.String())
}

func (c Cost) writeTable(b *strings.Builder, allNamespaces bool) {
	table := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	price := ""
	if c.Currency != "" {
		price = fmt.Sprintf("%s/HOUR\t%s/MONTH\t", c.Currency, c.Currency)
	}
	fmt.Fprintf(table, "NAMESPACE\tWORKLOAD\tPODS\tBILLED CPU\tMEMORY\t%sFIT LOCALLY\n", price)
	for i, w := range c.Workloads {
		c.writeLine(table, w.Namespace, w.Name, w.Line)
		isLast := i+1 == len(c.Workloads) || c.Workloads[i+1].Namespace != w.Namespace
		if allNamespaces && isLast {
			n := slices.IndexFunc(c.Namespaces, func(n Namespace) bool { return n.Name == w.Namespace })
			c.writeLine(table, w.Namespace, "all", c.Namespaces[n].Line)
		}
	}
	c.writeLine(table, "total", "", c.Total)
	_ = table.Flush() // A strings.Builder never fails.
}

func (c Cost) writeLine(table *tabwriter.Writer, namespace, name string, l Line) {
	price, fits := "", "-"
	if c.Currency != "" {
		price = l.Hour() + "\t" + l.Month() + "\t"
	}
	if l.FitLocally != nil {
		fits = fmt.Sprint(l.FitLocally.Pods)
		if c.Currency != "" && l.FitLocally.Pods > 0 {
			fits += fmt.Sprintf(" (%s/month)", l.FitLocally.Month())
		}
	}
	fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\t%s%s\n", namespace, name, l.Pods, l.CPU, l.Memory, price, fits)
}
