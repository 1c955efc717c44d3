package check

import (
	"time"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/prove/record"
)

// checkQuota checks I1 when a Pod takes a slot.
func (c *Checker) checkQuota(ch change) {
	if !ch.took {
		return
	}
	p, w := ch.pod, c.world
	d := p.period(p.knownFor(p.slotFrom), p.Version)
	joined := ch.left != p.revision || ch.before == nil
	if joined || !w.isControlled(p) || !w.sharesCount(p) || !d.allCapped {
		p.intrudedAt = p.Version
		if !p.now().Shares.IsZero() {
			c.report.Intruders++
		}
		return
	}
	c.report.Slots++
	if p.Node != "" && !ch.before.Slot && !(p.Listed && p.Slot) { // A list does not show which of the two came first.
		c.violate("I1", p, "it is bound to the local node %s, but no slot was written on it before", p.Node)
		return
	}
	if used := p.revision.held - c.uncountable(p); used > d.mostCap {
		c.violate("I1", p, "it took a slot while %d Pods held one: the quota is %d (%s; holders: %s)",
			used-1, d.mostCap, p.now().Shares, p.revision.holders())
	}
}

// knownFor returns the version that the extender knew at least when it decided about a slot. from is the version of the
// request for which the slot was written, 0 if it is not known.
func (p *pod) knownFor(from uint64) uint64 {
	switch {
	case p.request == nil:
		return 0
	case from > 0:
		return min(from, p.requestedFrom)
	}
	return p.requestedFrom
}

// uncountable returns the number of holders that were placed without the extender after the version that the request
// about the Pod contained. The extender could not count them.
func (c *Checker) uncountable(p *pod) int {
	known := uint64(0)
	if p.request != nil {
		known = p.request.Version
	}
	count := 0
	for _, other := range p.revision.pods {
		if other != p && other.holds && other.intrudedAt > known {
			count++
		}
	}
	return count
}

// checkCloud checks I2 for a Pod that has just been bound to a virtual node: no slot was free for it.
func (c *Checker) checkCloud(p *pod) {
	w := c.world
	if !w.virtual[p.Node] || !w.isControlled(p) || !w.sharesCount(p) || p.now().Placement == policy.PlacementCloudOnly {
		return
	}
	c.report.Cloud++
	a := p.toCloud
	if a == nil {
		c.violate("I2", p, "it is bound to the virtual node %s, but the extender never sent it there", p.Node)
		return
	}
	d := p.period(p.cloudFrom, p.Version)
	if a.request.Local == 0 {
		c.report.NoLocalNode++
		c.checkFloor(p, d)
		return
	}
	if held := p.revision.course.most(d.from, d.to, p); held < d.leastCap {
		c.violate("I2", p, "it was sent to the cloud although %d local nodes fit and only %d of %d slots were held",
			a.request.Local, held, d.leastCap)
	}
}

// followFreed measures I3: the time from a slot becoming free to the binding of a Pod that waited for it.
func (c *Checker) followFreed(ch change) {
	p, now := ch.pod, c.world.now
	if r := ch.left; r != nil && (ch.gave || c.changesCaps(ch)) && r.freeFor() > len(r.freed) {
		r.freed = append(r.freed, now)
	}
	if r := p.revision; ch.took && len(r.freed) > 0 {
		p.freedAt, r.freed = r.freed[0], r.freed[1:]
		if !c.world.isDisturbed(p.freedAt) && !c.world.isBehind(p.freedAt) {
			c.report.Given = append(c.report.Given, now.Sub(p.freedAt))
		}
	}
	if p.Node != "" && p.holds && !p.freedAt.IsZero() {
		c.measureUse(p)
		p.freedAt = time.Time{}
	}
	for _, r := range []*revision{p.revision, ch.left} {
		if r != nil && len(r.freed) > 0 {
			r.freed = r.freed[:min(len(r.freed), r.freeFor())]
		}
	}
}

// freeFor returns the number of free slots for Pods that wait for one.
func (r *revision) freeFor() int {
	most, waiting, active := 0, 0, r.active()
	for _, p := range r.pods {
		if p.waitsForSlot() {
			waiting++
			most = max(most, p.now().Shares.LocalCap(active)-r.held)
		}
	}
	return min(most, waiting)
}

// changesCaps reports whether a change may allow more slots: other shares, or another replica.
func (c *Checker) changesCaps(ch change) bool {
	p := ch.pod
	return p.revision != nil && (ch.before == nil || ch.before.Active() != p.Active() || p.now().version == p.Version)
}

func (c *Checker) measureUse(p *pod) {
	took, measured := c.promptly(p.freedAt, &c.report.Use)
	if measured && took > c.limits.Use {
		c.violate("I3", p, "a slot became free, and a Pod that waited for it was bound after %s: want at most %s",
			took, c.limits.Use)
	}
}

// promptly measures a time that I3 limits, from since until now, unless a fault or the scheduler's queue has delayed
// it.
func (c *Checker) promptly(since time.Time, figures *[]time.Duration) (took time.Duration, measured bool) {
	took = c.world.now.Sub(since)
	switch {
	case c.world.isDisturbed(since):
		c.report.UseDisturbed = append(c.report.UseDisturbed, took)
		return took, false
	case c.world.isBehind(since), took > c.limits.Use && !c.world.wasIdle(since):
		c.report.UseBehind = append(c.report.UseBehind, took)
		return took, false
	}
	*figures = append(*figures, took)
	return took, true
}

// holders returns the names of the Pods that hold a slot.
func (r *revision) holders() string {
	names := ""
	for _, p := range r.pods {
		if p.holds {
			names += " " + p.Name + "@" + nodeOf(&p.Pod)
		}
	}
	return names
}

func nodeOf(p *record.Pod) string {
	if p.Node == "" {
		return "(slot)"
	}
	return p.Node
}
