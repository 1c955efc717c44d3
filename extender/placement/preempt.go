package placement

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/extender/nodes"
	"github.com/spillway-k8s/spillway/policy"
)

// Victims are the Pods that the scheduler would evict, by node.
type Victims map[string]*extenderv1.MetaVictims

// Preempt returns the nodes on which the Pod may run after the eviction. If there are none, no Pod is evicted.
// Without it a Pod over its quota would evict local Pods although it cannot use the room
// (docs/sources.md#scheduler-preemption). A Pod below its quota gets its slot now. Otherwise another Pod could take
// the slot for which Pods were evicted.
func (p *Placement) Preempt(ctx context.Context, pod *corev1.Pod, victims Victims) (Victims, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	view, err := p.nodes.Await(ctx, slices.Collect(maps.Keys(victims)))
	if err != nil {
		return nil, err
	}
	class, err := p.evictionClass(ctx, pod, victims.has(view, nodes.Local), victims.has(view, nodes.Virtual))
	if err != nil {
		return nil, err
	}
	kept := maps.Clone(victims)
	maps.DeleteFunc(kept, func(name string, _ *extenderv1.MetaVictims) bool {
		return view[name] == nodes.Foreign || class != nodes.Unknown && view[name] != class
	})
	return kept, nil
}

// evictionClass returns the class of nodes on which Pods may be evicted for this Pod; nodes.Unknown stands for local
// and virtual ones.
func (p *Placement) evictionClass(ctx context.Context, pod *corev1.Pod, local, virtual bool) (nodes.Class, error) {
	d := p.decide(pod)
	switch {
	case d.Placement == policy.PlacementCloudOnly:
		return nodes.Virtual, nil
	case d.Placement == policy.PlacementByScore:
		return nodes.Unknown, nil
	case d.Quota == nil && d.MayBurst() && !local:
		return nodes.Virtual, nil
	case d.Quota == nil:
		return nodes.Local, nil
	}
	outcome, err := p.reserve(ctx, pod, *d.Quota, local, virtual)
	if err != nil {
		return nodes.Unknown, err
	}
	if outcome == ledger.Local {
		return nodes.Local, nil
	}
	return nodes.Virtual, nil
}

func (v Victims) has(view nodes.View, class nodes.Class) bool {
	for name := range v {
		if view[name] == class {
			return true
		}
	}
	return false
}
