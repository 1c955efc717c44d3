// Package dashboard is a page for a browser on the machine of the user: where the Pods of workloads are, how full the
// virtual nodes are, and why. It shows what "kubectl spillway status" and "why" print, and changes nothing.
package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/cli/nodes"
	"github.com/spillway-k8s/spillway/cli/status"
	"github.com/spillway-k8s/spillway/internal/explain"
	"github.com/spillway-k8s/spillway/internal/prices"
	"github.com/spillway-k8s/spillway/policy"
)

// Source is what the page shows. All its methods may be called concurrently.
type Source interface {
	// Changed returns a channel that is closed when something changes next.
	Changed() <-chan struct{}
	// Status returns what the status is made of. It must not block.
	Status() status.Input
	// Events returns Events of the programs of Spillway. It must not block.
	Events() []*corev1.Event
	// Explain explains at most limit Pods of a workload, and returns how many it has. It may block for API calls.
	Explain(ctx context.Context, namespace, workload string, limit int) ([]explain.Explanation, int, error)
}

// What one answer has at most, however large the cluster is.
const (
	pageSize     = 50
	maxNodes     = 60
	maxDecisions = 40
	maxExplained = 20
	maxHolders   = 30
)

// The data are summed up once in minPeriod at most, because that takes time in proportion to the number of Pods: less
// than half a second for 10,000. idleShare is how many times as long nothing is summed up afterwards.
const (
	minPeriod = time.Second
	idleShare = 4
)

// View is the answer to a query.
type View struct {
	// Version changes when the data do.
	Version string `json:"version"`
	// Scope says which namespaces the page shows. Namespace is the only one, empty if there are several. Then the load of
	// the virtual nodes is that of this namespace.
	Scope     string `json:"scope"`
	Namespace string `json:"namespace,omitempty"`
	// Total is the sum of the workloads that match the query, and Cost what their Pods in the cloud cost, nil without
	// prices.
	Total status.Workload `json:"total"`
	Cost  *Cost           `json:"cost,omitempty"`
	// Workloads are those of one page, Matching and All count the workloads.
	Workloads []status.Workload `json:"workloads"`
	Matching  int               `json:"matching"`
	All       int               `json:"all"`
	// Page is the number of the page, from 1, of Pages.
	Page  int `json:"page"`
	Pages int `json:"pages"`
	// Nodes are the virtual nodes, MoreNodes counts those that are left out.
	Nodes     []Node `json:"nodes"`
	MoreNodes int    `json:"moreNodes"`
	// Decisions are the recent ones, the newest first.
	Decisions []Decision `json:"decisions"`
	// Unknown says what could not be read.
	Unknown []string `json:"unknown"`
}

// Cost is what Pods cost in an hour and in a month of 730 hours, as "kubectl spillway cost" prints it.
type Cost struct {
	Currency string `json:"currency"`
	Hour     string `json:"hour"`
	Month    string `json:"month"`
}

// Node is a virtual node with its load.
type Node struct {
	Name  string `json:"name"`
	Ready bool   `json:"ready"`
	State string `json:"state"`
	Loads []Load `json:"loads"`
}

// Load is how much of a resource is used.
type Load struct {
	Resource string `json:"resource"`
	Used     string `json:"used"`
	Capacity string `json:"capacity"`
	// Percent is 100 if more is used than there is.
	Percent int `json:"percent"`
}

// Query selects workloads.
type Query struct {
	// Text must be part of the namespace or the name. Upper and lower case are equal.
	Text string
	// Show is a place that a workload must have Pods in: local, cloud or waiting. Empty: any.
	Show string
	Page int
}

// data are summed up from the source, for all queries.
type data struct {
	version string
	// prices are nil without prices.
	prices    *prices.Table
	workloads []status.Workload
	nodes     []Node
	decisions []Decision
	unknown   []string
}

// summary sums up the source when it has changed and a page asks.
type summary struct {
	source    Source
	now       func() time.Time
	minPeriod time.Duration

	lock    sync.Mutex
	current data
	// next is when the source may be summed up again.
	next time.Time
	// changed is closed when current is out of date, nil before the first sum.
	changed <-chan struct{}
}

// get returns the data, and a channel that is closed when they are out of date. Data that are younger than minPeriod
// are returned although they are. In a large cluster they get older, so that the command is idle most of the time.
func (s *summary) get() (data, <-chan struct{}, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.changed != nil && (!isClosed(s.changed) || s.now().Before(s.next)) {
		return s.current, s.changed, nil
	}
	began := s.now()
	changed := s.source.Changed() // Before the data: a change in between makes them out of date.
	d, err := collect(s.source)
	if err != nil {
		return data{}, nil, err
	}
	ended := s.now()
	s.current, s.changed, s.next = d, changed, ended.Add(max(s.minPeriod, idleShare*ended.Sub(began)))
	return d, changed, nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func collect(source Source) (data, error) {
	in := source.Status()
	sums := status.Summarize(in)
	d := data{
		prices: in.Prices, workloads: sums.Workloads, unknown: sums.Unknown, decisions: decisions(in, source.Events()),
	}
	for i := range d.workloads {
		// Controllers have shorter names, but a tenant can write any text into the owner of a Pod.
		d.workloads[i].Name = policy.Clip(d.workloads[i].Name, maxText)
	}
	for i := range sums.Nodes {
		d.nodes = append(d.nodes, nodeOf(&sums.Nodes[i]))
	}
	// Those that take no Pods come first: they are what an operator looks for.
	slices.SortStableFunc(d.nodes, func(a, b Node) int { return boolToInt(a.Ready) - boolToInt(b.Ready) })
	hash := fnv.New64a()
	err := json.NewEncoder(hash).Encode([]any{d.workloads, d.nodes, d.decisions, d.unknown})
	if err != nil {
		return data{}, fmt.Errorf("encoding the status: %w", err)
	}
	d.version = strconv.FormatUint(hash.Sum64(), 36)
	return d, nil
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func nodeOf(n *nodes.Node) Node {
	node := Node{Name: n.Name, Ready: n.State == explain.NodeReady, State: n.State}
	load := func(resource, used, capacity string, usedValue, all int64) {
		percent := 0
		if usedValue > 0 {
			percent = 100
		}
		if all > 0 {
			percent = int(min(100, float64(usedValue)/float64(all)*100))
		}
		node.Loads = append(node.Loads, Load{resource, used, capacity, percent})
	}
	pods, cpu, memory := n.Capacity.Pods(), n.Capacity.Cpu(), n.Capacity.Memory()
	cores := func(milli int64) string { return strconv.FormatFloat(float64(milli)/1000, 'f', -1, 64) }
	load("Pods", strconv.Itoa(n.Pods), strconv.FormatInt(pods.Value(), 10), int64(n.Pods), pods.Value())
	load("CPU", cores(n.Used.Cpu().MilliValue()), cores(cpu.MilliValue()), n.Used.Cpu().MilliValue(), cpu.MilliValue())
	load("Memory", n.Used.Memory().String(), memory.String(), n.Used.Memory().Value(), memory.Value())
	return node
}

// view answers a query.
func (d data) view(config Config, query Query) View {
	v := View{
		Version: d.version, Scope: config.Scope(), Namespace: config.Namespace, All: len(d.workloads),
		Decisions: d.decisions, Unknown: d.unknown,
	}
	matching := slices.DeleteFunc(slices.Clone(d.workloads), func(w status.Workload) bool { return !query.matches(w) })
	v.Total, v.Matching = status.Total(d.prices, matching), len(matching)
	if d.prices != nil {
		v.Cost = &Cost{d.prices.Currency(), v.Total.Hour(), v.Total.Month()}
	}
	v.Pages = max(1, (len(matching)+pageSize-1)/pageSize)
	v.Page = max(1, min(query.Page, v.Pages))
	first := (v.Page - 1) * pageSize
	v.Workloads = matching[first:min(first+pageSize, len(matching))]
	v.Nodes = d.nodes[:min(maxNodes, len(d.nodes))]
	v.MoreNodes = len(d.nodes) - len(v.Nodes)
	return v
}

func (q Query) matches(w status.Workload) bool {
	switch q.Show {
	case "local":
		if w.Local == 0 {
			return false
		}
	case "cloud":
		if w.Cloud == 0 {
			return false
		}
	case "waiting":
		if w.Waiting == 0 {
			return false
		}
	}
	return strings.Contains(strings.ToLower(w.Namespace+"/"+w.Name), strings.ToLower(q.Text))
}
