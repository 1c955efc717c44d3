package placement

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"github.com/spillway-k8s/spillway/extender/nodes"
)

// Victims are the Pods that the scheduler would evict, by node.
type Victims map[string]*extenderv1.MetaVictims

// Preempt returns the nodes on which the Pod may run after the eviction. If there are none, no Pod is evicted.
// Without it a Pod over its quota would evict local Pods although it cannot use the room
// (docs/sources.md#scheduler-preemption). A Pod below its quota gets its slot now. Otherwise another Pod could take
// the slot for which Pods were evicted. The same holds for the limits of its namespace. The answer does not wait for a
// slow API server to store the slot, because Filter does before the Pod is placed.
//
// A node without victims is one that an extender refused although its own resources suffice: the scheduler asks for
// victims there from version 1.38 on (docs/sources.md#scheduler-preemption). Spillway frees nothing by evictions, so it
// adds none. It returns the node as it is if the Pod may run there, so that another extender can add victims, and
// leaves it out otherwise, which is how an extender rejects a node. The scheduler drops nodes for which no extender has
// victims.
//
// For an unmanaged Pod Preempt returns all victims.
func (p *Placement) Preempt(ctx context.Context, pod *corev1.Pod, victims Victims) (Victims, error) {
	if managed, err := p.manages(pod); err == nil && !managed {
		return victims, nil
	}
	if err := p.Ready(); err != nil {
		return nil, err
	}
	kept, err := p.preempt(ctx, pod, victims)
	p.ledger.PreemptEnded(pod.UID, err)
	return kept, err
}

func (p *Placement) preempt(ctx context.Context, pod *corev1.Pod, victims Victims) (Victims, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	view, err := p.nodes.Await(ctx, slices.Collect(maps.Keys(victims)))
	if err != nil {
		return nil, err
	}
	c, err := p.decide(pod, nil)
	if err != nil {
		return nil, err
	}
	c.preempting = true
	c.fit(classes{victims.has(view, nodes.Local), victims.has(view, nodes.Virtual)})
	outcome, err := p.reserve(ctx, c)
	if err != nil {
		return nil, err
	}
	allowed, _ := c.choose(outcome)
	kept := maps.Clone(victims)
	maps.DeleteFunc(kept, func(name string, _ *extenderv1.MetaVictims) bool {
		return !(allowed.local && view[name] == nodes.Local || allowed.virtual && view[name] == nodes.Virtual)
	})
	return kept, nil
}

func (v Victims) has(view nodes.View, class nodes.Class) bool {
	for name := range v {
		if view[name] == class {
			return true
		}
	}
	return false
}
