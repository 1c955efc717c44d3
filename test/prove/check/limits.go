package check

import (
	"fmt"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/prove/record"
)

// setLimits remembers the limits and the settings of the namespace of a round. They do not change.
func (c *Checker) setLimits(round *record.Round) {
	c.world.settings[round.Namespace] = round.Settings
	limits, err := policy.ParseCloudLimits(round.Limits)
	if err != nil {
		c.violations = append(c.violations, &Violation{
			Promise: "I8", Revision: "none", Pod: round.Namespace, At: c.world.now, What: fmt.Sprint("its limits: ",
				err),
		})
	}
	if !limits.IsZero() {
		c.world.limits[round.Namespace] = limits
	}
}

// checkLimits checks I8 for a Pod that has just been bound: what its namespace uses in the cloud is within its limits.
// Nothing but a binding makes it more.
func (c *Checker) checkLimits(ch change) {
	p, w := ch.pod, c.world
	limits, limited := w.limits[p.Namespace]
	if !limited || !w.virtual[p.Node] {
		return
	}
	if !w.isControlled(p) {
		p.uncountedAt = p.Version
		c.report.Uncounted++
		return
	}
	c.report.CloudSlots++
	if !ch.before.CloudSlot && !(p.Listed && p.CloudSlot) {
		c.violate("I8", p, "it is bound to the virtual node %s, but no cloud slot was written on it before", p.Node)
		return
	}
	known := uint64(0)
	if p.request != nil {
		known = p.request.Version
	}
	used := w.cloudUse(p.Namespace, func(other *pod) bool {
		// The extender counts what it can know.
		return w.virtual[other.Node] && (other == p || other.uncountedAt <= known)
	})
	if !limits.Allow(used) {
		c.violate("I8", p,
			"it is bound to a virtual node, and its namespace then uses %d Pods and %s: the limits are %s",
			used.Pods, used.Flavor, limits)
	}
}

// cloudUse sums up what the Pods of a namespace that satisfy a condition use in the cloud. The cloud bills a Pod that
// terminates until it is gone.
func (w *world) cloudUse(namespace string, counts func(*pod) bool) policy.CloudUse {
	var used policy.CloudUse
	for _, p := range w.pods {
		if p.Namespace == namespace && !p.Ended() && counts(p) {
			used = used.Plus(p.use())
		}
	}
	return used
}

func (p *pod) use() policy.CloudUse { return policy.CloudUse{Pods: 1, Flavor: p.Size} }

// isLimited reports whether the last answer refused the Pod because of the limits of its namespace.
func (p *pod) isLimited() bool {
	return p.refusedFor(policy.ReasonCloudLimits)
}

// checkKeptOut checks I8 for a waiting Pod when the round is quiet: the limits leave no room for it.
func (c *Checker) checkKeptOut(p *pod) {
	w := c.world
	limits, limited := w.limits[p.Namespace]
	if !limited || !p.isLimited() {
		return
	}
	c.report.Limited++
	used := w.cloudUse(p.Namespace, func(other *pod) bool {
		reserved := other.Node == "" && other.Active() && (other.CloudSlot || other.possiblyCharged)
		return other != p && (reserved || w.virtual[other.Node])
	})
	if limits.Allow(used.Plus(p.use())) {
		c.violate("I8", p, "it waits for the limits %s of its namespace although that uses only %d Pods and %s, "+
			"and the round is quiet", limits, used.Pods, used.Flavor)
	}
}
