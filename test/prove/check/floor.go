package check

import (
	"time"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/prove/plan"
	"github.com/spillway-k8s/spillway/test/prove/record"
)

// checkFloor checks I10 for a Pod that has just been bound to a virtual node because no local node fitted: as many
// other replicas as the floor of its revision held a slot or claimed one at some time from the call to the binding.
func (c *Checker) checkFloor(p *pod, d period) {
	if home := p.revision.homes.most(d.from, d.to, p); home < d.leastFloor {
		c.violate("I10", p, "it was sent to the cloud while only %d other replicas were local or waited for it: "+
			"%d must not burst (%s)", home, d.leastFloor, p.now().Shares)
	}
}

// deadline returns when the Pod need not wait for local nodes any more.
func (p *pod) deadline() time.Time { return p.Created.Add(p.now().BurstAfter) }

// followWaits follows the wait for burst-after, with each answer about a Pod.
func (c *Checker) followWaits(p *pod, a *answer) {
	if p.revision == nil {
		return
	}
	waited := p.refusedFor(policy.ReasonBurstAfter)
	refused := &pod{response: a}
	switch {
	case refused.refusedFor(policy.ReasonBurstAfter):
		c.report.BurstAfter++
		p.waitedUntil = time.Time{}
		r := p.revision
		c.postpone(func() { c.checkWithin(p, r, a) })
	case a.Refusal != "":
		p.waitedUntil = time.Time{}
	case a.Virtual > 0 && waited && !p.Created.IsZero():
		p.waitedUntil = p.deadline()
		for _, other := range []time.Time{p.response.at, p.now().at} {
			if other.After(p.waitedUntil) {
				p.waitedUntil = other
			}
		}
	}
}

// checkWithin checks I10 for a Pod that waits for burst-after: it was not over its quota during the whole time of the
// decision.
func (c *Checker) checkWithin(p *pod, r *revision, a *answer) {
	w := c.world
	if p.revision != r || !w.sharesCount(p) {
		return
	}
	d := p.period(a.request.Version, w.version)
	if held, _ := r.certain.between(d.from, d.to, p); held >= d.mostCap {
		c.violate("I10", p, "it waits for %s although %d other Pods hold the %d slots", policy.BurstAfterAnnotation,
			held, d.mostCap)
	}
}

// passDeadline counts the end of the wait as a change that makes the scheduler retry the Pod, once.
func (c *Checker) passDeadline(p *pod) {
	if !p.deadlineSeen && p.refusedFor(policy.ReasonBurstAfter) && !c.world.now.Before(p.deadline()) {
		p.deadlineSeen = true
		p.waiting.changed = append(p.waiting.changed, c.world.now)
	}
}

// clockWrong reports whether the extender's clock may have been wrong at a moment.
func (c *Checker) clockWrong(moment time.Time) bool {
	return c.jumps || moment.Before(c.jumpedAt.Add(landsLate))
}

// checkWait checks I3 and I10 for a Pod that has just been bound to a virtual node: neither before it had waited as
// long as it must, nor long afterwards.
func (c *Checker) checkWait(p *pod) {
	w := c.world
	if !w.virtual[p.Node] || p.Created.IsZero() || p.born.Node != "" || p.Scheduler == plan.OtherScheduler {
		return
	}
	if !p.waitedUntil.IsZero() {
		if took, measured := c.promptly(p.waitedUntil, &c.report.Burst); measured && took > c.limits.Use {
			c.violate("I3", p, "it waited for %s, and was bound to a virtual node %s after that had ended: want at "+
				"most %s",
				policy.BurstAfterAnnotation, took, c.limits.Use)
		}
	}
	if !w.isControlled(p) {
		if wait := p.period(0, p.Version).wait; !w.isManaged(p) && w.now.Before(p.Created.Add(wait)) {
			c.violate("I10", p, "it is bound to a virtual node %s after its creation: it must wait %s for local nodes",
				w.now.Sub(p.Created), wait)
		}
		return
	}
	a := p.toCloud
	if a == nil || a.request.Local > 0 || c.clockWrong(a.at) {
		return
	}
	d := p.period(p.cloudFrom, p.Version)
	if !a.at.Before(p.Created.Add(d.wait)) || !w.mayBurst(p) {
		return
	}
	if places := p.revision.places.most(d.from, d.to, p); p.now().Shares.IsZero() || places < d.leastCap {
		c.violate("I10", p, "it was sent to the cloud %s after its creation although it had to wait %s for local "+
			"nodes, and was within its quota: only %d other replicas were local or waited for it", a.at.Sub(p.Created),
			d.wait,
			places)
	}
}

// checkStaysHome checks I10 for a Pod that waits for local nodes when the round is quiet: its reason has not gone.
func (c *Checker) checkStaysHome(p *pod) {
	w := c.world
	waits := p.refusedFor(policy.ReasonLocalMin, policy.ReasonBurstAfter)
	if !waits || !w.isControlled(p) || !w.mayBurst(p) {
		return
	}
	c.report.StayHome++
	if node := w.roomFor(p); node != "" && p.response.request.Local == 0 {
		c.violate("I10", p, "it waits for local nodes although %s has room, and the round is quiet", node)
	}
	floor := p.refusedFor(policy.ReasonLocalMin)
	if over := w.now.Sub(p.deadline()); !floor && !p.Created.IsZero() && over > c.limits.Use {
		c.violate("I10", p, "it waits for %s although that ended %s ago, and the round is quiet",
			policy.BurstAfterAnnotation, over)
	}
	if p.now().Shares.IsZero() {
		return
	}
	places, most := p.revision.claimed(floor)
	if places > most {
		c.violate("I10", p, "it waits for local nodes, and with it %d replicas are local or wait for that: only %d "+
			"may, and the round is quiet", places, most)
	}
}

// claimed returns how many Pods of the revision hold a slot or claim one, and how many may by the shares of those that
// claim one: claims of the floor, or all.
func (r *revision) claimed(floor bool) (places, most int) {
	active := r.active()
	for _, p := range r.pods {
		claims := p.Active() && p.Node == "" && p.refusedFor(policy.ReasonLocalMin)
		if !floor {
			claims = claims || p.Active() && p.Node == "" && p.refusedFor(policy.ReasonBurstAfter)
		}
		if p.holds || claims {
			places++
		}
		if !claims {
			continue
		}
		if floor {
			most = max(most, p.now().Shares.LocalFloor(active))
		} else {
			most = max(most, p.now().Shares.LocalCap(active))
		}
	}
	return places, most
}

// roomFor returns a local node that has room for the Pod, or an empty string.
func (w *world) roomFor(p *pod) string {
	used, nominated := map[string]int64{}, map[string]bool{}
	for _, other := range w.pods {
		if other.Node != "" && !other.Ended() {
			used[other.Node] += other.MilliCPU
		}
		nominated[other.Nominated] = true
	}
	fits := func(node record.Node) bool {
		return !node.Virtual && !node.Gone && node.Open && node.Room == p.Room && !nominated[node.Name] &&
			node.MilliCPU-used[node.Name] >= p.MilliCPU
	}
	for name, node := range w.nodes {
		if p.Room != "" && fits(node) {
			return name
		}
	}
	return ""
}
