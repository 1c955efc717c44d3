package check

// checkAttempts checks I5 for a Pod whose waiting has ended, or stands still: how often the extender refused it for each change that makes
// the scheduler try refused Pods again. One attempt more is its first.
func (c *Checker) checkAttempts(p *pod) {
	if p.refusals == 0 {
		return
	}
	changes := c.world.changes - p.changes
	c.report.Refusals = append(c.report.Refusals, p.refusals)
	c.report.Attempts = append(c.report.Attempts, float64(p.refusals)/float64(changes+1))
	if p.refusals > c.limits.Attempts*(changes+1) {
		c.violate("I5", p, "it was refused %d times while the cluster changed %d times: %d attempts for each change are promised", p.refusals, changes, c.limits.Attempts)
	}
	p.refusals = 0
}
