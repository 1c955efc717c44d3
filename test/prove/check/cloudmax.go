package check

import "github.com/spillway-k8s/spillway/policy"

// checkShare checks I9 for a Pod that has just been bound to a virtual node: no more of its revision are in the cloud
// than its cap allows.
func (c *Checker) checkShare(ch change) {
	p, w := ch.pod, c.world
	if !w.virtual[p.Node] {
		return
	}
	d := p.period(min(p.knownFor(p.cloudSlotFrom), p.cloudFrom), p.Version)
	if ch.left != p.revision || !w.isControlled(p) || !w.mayBurst(p) || !d.allClouds {
		p.burstAt = p.Version
		return
	}
	c.report.CloudShares++
	if !ch.before.CloudSlot && !(p.Listed && p.CloudSlot) {
		c.violate("I9", p, "it is bound to the virtual node %s, but no cloud slot was written on it before", p.Node)
		return
	}
	known := uint64(0)
	if p.request != nil {
		known = p.request.Version
	}
	used := 0
	for _, other := range p.revision.pods {
		// The extender counts what it can know.
		if other.Active() && w.virtual[other.Node] && (other == p || other.burstAt <= known) {
			used++
		}
	}
	if used > d.mostCloud {
		c.violate("I9", p, "it is bound to a virtual node, and %d of its revision are then in the cloud: at most %d "+
			"may be (%s)", used, d.mostCloud, p.now().Shares)
	}
}

// joinCloud records that a Pod in the cloud has come to another revision. The extender cannot prevent that.
func (w *world) joinCloud(ch change) {
	if ch.before != nil && ch.left != ch.pod.revision && w.virtual[ch.pod.Node] {
		ch.pod.burstAt = ch.pod.Version
	}
}

// checkShareReached checks I9 for a waiting Pod when the round is quiet: its revision has no room in the cloud.
func (c *Checker) checkShareReached(p *pod) {
	w := c.world
	if !p.refusedFor(policy.ReasonCloudMax) || !w.isControlled(p) || !w.mayBurst(p) {
		return
	}
	c.report.ShareReached++
	used := 0
	for _, other := range p.revision.pods {
		reserved := other.Node == "" && (other.CloudSlot || other.possiblyCharged || other.toCloud != nil)
		if other != p && other.Active() && (reserved || w.virtual[other.Node]) {
			used++
		}
	}
	if most := p.now().Shares.CloudCap(p.revision.active()); used < most {
		c.violate("I9", p, "it waits although only %d of %d of its revision are in the cloud (%s), and the round is "+
			"quiet",
			used, most, p.now().Shares)
	}
}
