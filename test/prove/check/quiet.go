package check

import (
	"slices"
	"strings"

	"github.com/spillway-k8s/spillway/test/prove/plan"
)

// checkQuiet checks I2, I4, I5, I6 and I8 for the Pods of a round's namespace, when the round has been played and is
// quiet.
func (c *Checker) checkQuiet(namespace string) {
	c.checkEvictions()
	c.checkSettings(namespace)
	c.checkMoves(namespace)
	seen := map[*revision]bool{}
	for _, p := range c.world.inNamespace(namespace) {
		if !p.Active() {
			continue
		}
		if !seen[p.revision] {
			seen[p.revision] = true
			c.countOutcome(p.revision)
		}
		if p.Node == "" && p.Scheduler != plan.OtherScheduler {
			c.report.Waiting++
			c.checkReason(p)
			c.checkPassedOver(p)
			c.checkKeptOut(p)
			c.checkShareReached(p)
			c.checkStaysHome(p)
			c.checkAttempts(p)
		}
	}
}

// inNamespace returns the Pods of a namespace, ordered by name.
func (w *world) inNamespace(namespace string) []*pod {
	var pods []*pod
	for _, p := range w.pods {
		if p.Namespace == namespace && !p.Gone {
			pods = append(pods, p)
		}
	}
	slices.SortFunc(pods, func(a, b *pod) int { return strings.Compare(a.Name, b.Name) })
	return pods
}

// checkReason checks I4: a waiting Pod has a reason.
func (c *Checker) checkReason(p *pod) {
	if p.Reason == "" || p.Message == "" {
		c.violate(
			"I4",
			p,
			"it waits, but its condition PodScheduled has no reason or no message (reason %q, message %q)",
			p.Reason,
			p.Message,
		)
	}
}

// checkPassedOver checks I2 for a Pod that waits for a slot: no slot is free.
func (c *Checker) checkPassedOver(p *pod) {
	if !p.waitsForSlot() || !c.world.isControlled(p) || !c.world.sharesCount(p) || p.response.request.Local == 0 {
		return
	}
	limit := p.now().Shares.LocalCap(p.revision.active())
	if held := p.revision.mayHoldBut(p); held < limit {
		c.violate("I2", p, "it waits for a slot although only %d of %d are held (holders:%s) and the round is quiet",
			held, limit, p.revision.holders())
	}
}

// countOutcome counts the local replicas of a revision with a quota.
func (c *Checker) countOutcome(r *revision) {
	local, replicas := 0, r.active()
	quotas := map[int]bool{}
	for _, p := range r.pods {
		if !p.Active() {
			continue
		}
		if c.world.isLocal(&p.Pod) {
			local++
		}
		if c.world.isControlled(p) && c.world.sharesCount(p) && p.now().Shares.HasLocalCap() {
			quotas[p.now().Shares.LocalCap(replicas)] = true
		}
	}
	for quota := range quotas {
		switch want := min(quota, replicas); {
		case len(quotas) > 1:
			c.report.Mixed++
			return
		case local == want:
			c.report.Exact++
		case local < want:
			c.report.Fewer++
		default:
			c.report.More++
		}
	}
}
