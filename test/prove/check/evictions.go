package check

import (
	"time"
)

// preempted is the reason of the condition DisruptionTarget of a Pod that was evicted for another.
const preempted = "PreemptionByScheduler"

// eviction is a Pod that was evicted for one of higher priority.
type eviction struct {
	victim   *pod
	node     string
	priority int32
	at       time.Time
	// nominated are those that the node was meant for.
	nominated []*pod
	// followed is set when a Pod of higher priority was bound there.
	followed bool
}

// nominatedWithin is how long before or after an eviction the Pod that it is for is seen to be nominated.
const nominatedWithin = 10 * time.Second

// followEvictions follows what becomes of the room that evictions make: I6.
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

// judgeEvictions checks I6 when all is quiet: on the node of each Pod that was evicted runs one of higher priority since, or the one that it
// was for has been deleted. The scheduler may have found it another node at home meanwhile.
func (c *Checker) judgeEvictions() {
	for _, e := range c.evictions {
		switch {
		case e.followed:
			c.report.EvictionsFollowed++
		case e.deleted():
			c.report.EvictionsDeleted++
		case e.elsewhere(c.world):
			c.report.EvictionsElsewhere++
		default:
			c.violate("I6", e.victim, "it was evicted from %s, and no Pod of higher priority has run there since; nominated there: %s", e.node, e.names())
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
	names := "nobody"
	for i, p := range e.nominated {
		if i == 0 {
			names = ""
		}
		names += p.Name + "@" + where(&p.Pod) + " "
	}
	return names
}
