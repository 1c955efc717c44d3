package check

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// checkQuiet checks what must hold when a round has been played and nothing moves any more: I2, I4, I5 and I6 for the Pods of its namespace.
func (c *Checker) checkQuiet(namespace string) {
	c.judgeEvictions()
	seen := map[*revision]bool{}
	for _, p := range c.world.inNamespace(namespace) {
		if !p.Active() {
			continue
		}
		if !seen[p.revision] {
			seen[p.revision] = true
			c.countOutcome(p.revision)
		}
		if p.Node == "" && p.Scheduler == corev1.DefaultSchedulerName {
			c.report.Waiting++
			c.checkReason(p)
			c.checkPassedOver(p)
			c.checkAttempts(p)
		}
	}
}

// inNamespace returns the Pods of a namespace in the order of their names.
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

// checkReason checks I4: a Pod that waits says why.
func (c *Checker) checkReason(p *pod) {
	if p.Reason == "" || p.Message == "" {
		c.violate("I4", p, "it waits, and its condition PodScheduled does not say why (reason %q, message %q)", p.Reason, p.Message)
	}
}

// checkPassedOver checks I2 for a Pod that waits for a slot: none is free.
func (c *Checker) checkPassedOver(p *pod) {
	if !p.waits() || !c.world.isControlled(p) || !c.world.quotaCounts(p) || p.answered.asked.Local == 0 {
		return
	}
	if held := p.revision.mayHoldBut(p); held < *p.Quota {
		c.violate("I2", p, "it waits for a slot though only %d of %d are held (holders:%s), and all is quiet", held, *p.Quota, p.revision.holders())
	}
}

// countOutcome counts how a revision with a quota has ended.
func (c *Checker) countOutcome(r *revision) {
	replicas, home := 0, 0
	quotas := map[int]bool{}
	for _, p := range r.pods {
		if !p.Active() || p.Quota == nil {
			continue
		}
		replicas++
		if c.world.isHome(&p.Pod) {
			home++
		}
		if c.world.isControlled(p) && c.world.quotaCounts(p) {
			quotas[*p.Quota] = true
		}
	}
	for quota := range quotas {
		switch want := min(quota, replicas); {
		case len(quotas) > 1:
			c.report.Mixed++
			return
		case home == want:
			c.report.Exact++
		case home < want:
			c.report.Fewer++
		default:
			c.report.More++
		}
	}
}
