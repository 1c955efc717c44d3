package check

import (
	"time"
)

// preempted is the reason of the condition DisruptionTarget of a preempted Pod.
const preempted = "PreemptionByScheduler"

// eviction is the eviction of a Pod by preemption.
type eviction struct {
	victim   *pod
	node     string
	priority int32
	at       time.Time
	// nominated are the Pods that were nominated to the node.
	nominated []*pod
	// followed is set when a Pod of higher priority has been bound to the node.
	followed bool
}

// nominatedWithin is the maximum time between an eviction and the nomination of the Pod that it is for.
const nominatedWithin = 10 * time.Second

// followEvictions records what happens on the nodes of evicted Pods, for I6.
func (c *Checker) followEvictions(ch change, bound bool) {
	p, now := ch.pod, c.world.now
	if p.Disrupted == preempted && (ch.before == nil || ch.before.Disrupted != preempted) {
		e := &eviction{victim: p, node: p.Node, priority: p.Priority, at: now}
		for _, other := range c.world.pods {
			if e.mayBeFor(other) {
				e.nominated = append(e.nominated, other)
			}
		}
		c.evictions = append(c.evictions, e)
		c.report.Evictions++
	}
	nominated := p.Nominated != "" && (ch.before == nil || ch.before.Nominated != p.Nominated)
	if !nominated && !bound {
		return
	}
	for _, e := range c.evictions {
		switch {
		case bound && p.Node == e.node && p.Priority > e.priority:
			e.followed = true
		case nominated && now.Sub(e.at) <= nominatedWithin && e.mayBeFor(p):
			e.nominated = append(e.nominated, p)
		}
	}
}

func (e *eviction) mayBeFor(p *pod) bool {
	return p.Nominated == e.node && p.Priority > e.priority
}

// checkEvictions checks I6 when the round is quiet: on the node of each preempted Pod a Pod of higher priority has run
// since, or the preemptor has been deleted, or the scheduler has bound the preemptor to another local node.
func (c *Checker) checkEvictions() {
	for _, e := range c.evictions {
		switch {
		case e.followed:
			c.report.EvictionsFollowed++
		case e.deleted():
			c.report.EvictionsDeleted++
		case e.elsewhere(c.world):
			c.report.EvictionsElsewhere++
		default:
			c.violate("I6", e.victim, "it was evicted from %s, but no Pod of higher priority has run there since; nominated: %s",
				e.node, e.names())
		}
	}
	c.evictions = nil
}

func (e *eviction) deleted() bool {
	for _, p := range e.nominated {
		if !p.Active() && p.Node == "" {
			return true
		}
	}
	return false
}

func (e *eviction) elsewhere(w *world) bool {
	for _, p := range e.nominated {
		if p.Node != "" && !w.virtual[p.Node] {
			return true
		}
	}
	return false
}

func (e *eviction) names() string {
	names := "none"
	for i, p := range e.nominated {
		if i == 0 {
			names = ""
		}
		names += p.Name + "@" + nodeOf(&p.Pod) + " "
	}
	return names
}
