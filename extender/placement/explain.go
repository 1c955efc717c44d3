package placement

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/extender/nodes"
	"github.com/spillway-k8s/spillway/internal/explain"
	"github.com/spillway-k8s/spillway/policy"
)

// maxHolders is how many holders of local slots an answer names.
const maxHolders = 100

// Decision is where a Pod may go now.
type Decision string

const (
	// Local: to a local node.
	Local = Decision(explain.Local)
	// Cloud: to a virtual node.
	Cloud = Decision(explain.Cloud)
	// ByScore: to a node of any class. The scores of the scheduler decide.
	ByScore = Decision(policy.PlacementByScore)
	// Waiting: to no node now. The scheduler tries it again when a slot of its shares or room within the limits becomes
	// free, when it may burst, or after it has tried preemption.
	Waiting = Decision(explain.Waiting)
	// Refused: to no node until what the message says has changed.
	Refused Decision = "Refused"
	// Gone: to no node, because the Pod is terminating or has ended.
	Gone Decision = "Gone"
)

// Answer is the answer to the question why a Pod may go to some nodes and not to others, as JSON.
type Answer struct {
	// Decision and Reason are what Filter would answer now.
	Decision Decision      `json:"decision"`
	Reason   policy.Reason `json:"reason"`
	// Message is the message that the condition of the Pod would have, if no node passes.
	Message string `json:"message,omitempty"`
	// Passed are the nodes that the scheduler would get back.
	Passed []string `json:"passed"`
	// Failed are the others, and why.
	Failed []Failed `json:"failed,omitempty"`
	// Explanation is what "kubectl spillway why" says about the Pod, as far as the extender knows it: without the
	// workload, and without commands.
	Explanation explain.Explanation `json:"explanation"`
}

// Failed are nodes that do not pass for the same reason.
type Failed struct {
	Nodes []string `json:"nodes"`
	Why   string   `json:"why"`
}

// Explain says what Filter would answer now, and why. Like DryRun it changes nothing and waits for nothing, and has the
// same errors. It names Pods of the namespace of the Pod only, at most maxHolders.
func (p *Placement) Explain(pod *corev1.Pod, offer Offer) (Answer, error) {
	managed, err := p.manages(pod)
	if err != nil {
		return Answer{}, err
	}
	f, err := p.foresee(pod, offer, maxHolders)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Explanation: p.explanation(f)}
	switch {
	case !managed:
		a.Reason, a.Passed = policy.ReasonUnmanaged, offer.Names
	case f.outcome == ledger.Gone:
		a.Decision, a.Reason, a.Message, a.Passed = Gone, f.Reason, errGone(pod).Error(), []string{}
	default:
		result := p.result(f.candidate, f.outcome)
		a.Reason, a.Message, a.Passed = result.Reason, result.Refusal, result.Names
	}
	if a.Decision == "" {
		a.Decision = decisionOf(f.view, a)
	}
	if managed {
		a.Failed = p.failed(f, a, offer.Names)
	}
	return a, nil
}

// decisionOf returns the Decision of an answer about a Pod that is not gone.
func decisionOf(view nodes.View, a Answer) Decision {
	if len(a.Passed) == 0 {
		switch a.Reason {
		case policy.ReasonLocalQuota, policy.ReasonCloudLimits, policy.ReasonPreemptFirst, policy.ReasonLocalMin,
			policy.ReasonBurstAfter, policy.ReasonCloudMax:
			return Waiting
		default:
			return Refused
		}
	}
	local, virtual := view.Split(a.Passed)
	switch len(a.Passed) {
	case len(local):
		return Local
	case len(virtual):
		return Cloud
	default:
		return ByScore
	}
}

// failed groups the nodes that do not pass.
func (p *Placement) failed(f forecast, a Answer, names []string) []Failed {
	passed := map[nodes.Class]bool{}
	for _, name := range a.Passed {
		passed[f.view[name]] = true
	}
	var groups []Failed
	for _, class := range []nodes.Class{nodes.Local, nodes.Virtual, nodes.Foreign} {
		if passed[class] {
			continue
		}
		group := Failed{Why: p.whyNot(f, a, class)}
		for _, name := range names {
			if f.view[name] == class {
				group.Nodes = append(group.Nodes, name)
			}
		}
		if len(group.Nodes) > 0 {
			groups = append(groups, group)
		}
	}
	return groups
}

// whyNot says why the nodes of a class do not pass. No node of a class passes, or all do.
func (p *Placement) whyNot(f forecast, a Answer, class nodes.Class) string {
	switch {
	case class == nodes.Foreign:
		return "it stands for a cloud or a cluster that is not that of Spillway"
	case class == nodes.Local && f.Placement == policy.PlacementCloudOnly:
		return explain.NotTriedLocal
	case a.Message != "":
		return a.Message
	case class == nodes.Local:
		return explain.NoLocalSlot
	case !f.MayBurst():
		return f.Message
	case f.outcome == ledger.Local:
		return explain.HasLocalSlot
	case f.outcome == ledger.Limited:
		return p.policy.CloudLimitsReached(f.pod).Sentence
	default:
		return explain.LocalFirst
	}
}

// explanation explains the Pod with the sentences of the plugin of kubectl, from what the decision depends on.
func (p *Placement) explanation(f forecast) explain.Explanation {
	in := explain.Input{
		Policy: p.policy, Pod: f.pod, NotCreated: !f.sight.Known, Global: f.input.Global,
		NamespaceAnnotations: f.input.NamespaceAnnotations, Claims: f.input.Claims,
		Nodes: p.virtualNodes(f.input.Nodes), InCloud: f.sight.Cloud.Used, HasCloudSlot: f.sight.Cloud.Held,
		Unknown: []string{
			"whether the virtual nodes are ready or cordoned",
			"the labels of its owners and of its namespace: admission copies those that matter to the Pod",
		},
	}
	slots := f.sight.Local
	in.Replicas = explain.Replicas{
		Active: slots.Used + slots.InCloud + slots.Waiting,
		Used:   slots.Used, InCloud: slots.InCloud, Waiting: slots.Waiting, Reserved: slots.Bursting,
		Holds: slots.Held,
	}
	for _, h := range slots.Holders {
		in.Replicas.Holders = append(in.Replicas.Holders, explain.Holder{Pod: h.Name, Node: h.Node})
	}
	e := explain.Explain(in)
	e.Changes = nil // They need the owners of the Pod.
	return e
}

// virtualNodes returns what is known of virtual nodes.
func (p *Placement) virtualNodes(virtual []policy.VirtualNode) []*corev1.Node {
	locks := p.nodes.Locks()
	all := make([]*corev1.Node, 0, len(virtual))
	for _, v := range virtual {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: v.Name, Labels: v.Labels}}
		if until, locked := locks[v.Name]; locked {
			node.Spec.Unschedulable = true // vnode does both at once.
			node.Annotations = map[string]string{policy.SoldOutUntilAnnotation: until}
		}
		all = append(all, node)
	}
	return all
}
