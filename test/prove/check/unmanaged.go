package check

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// isUnconcerned tells whether the Pod carries no key of ours.
func isUnconcerned(p *pod) bool {
	return !p.Marked && p.Quota == nil && p.Burst == "" && p.Switch == ""
}

// checkConcerned checks the first half of I7: the extender is not asked about a Pod that carries no key.
func (c *Checker) checkConcerned(p *pod) {
	if p.revision != nil && p.asked != nil && isUnconcerned(p) {
		c.violate("I7", p, "the extender was asked about it, and it carries no key")
	}
}

// mostInVain is what share of a long wait the questions without an answer may be, 1/mostInVain: on an overloaded API server slow writes come again and again.
const mostInVain = 20

// checkUnconcerned checks the second half of I7 for a Pod that has just been bound. It has waited for the answers about the Pods before it in the
// scheduler's queue; those that the extender could not give have cost it no more than one answer may take, or than a small part of a long wait. A Pod for
// which the scheduler found no node waited for another cause.
func (c *Checker) checkUnconcerned(p *pod) {
	if !isUnconcerned(p) || p.unfit || p.born.Node != "" || p.Scheduler != corev1.DefaultSchedulerName {
		return
	}
	w := c.world
	took := w.now.Sub(p.bornAt)
	held, inVain := w.askedBetween(p.bornAt, w.now)
	if w.isDisturbed(p.bornAt) {
		c.report.PlainDisturbed = append(c.report.PlainDisturbed, took)
		c.report.HeldDisturbed = append(c.report.HeldDisturbed, held)
	} else {
		c.report.Plain = append(c.report.Plain, took)
		c.report.Held = append(c.report.Held, held)
	}
	c.report.InVain = append(c.report.InVain, inVain)
	if may := max(c.limits.Answer, took/mostInVain); inVain > may && !c.slow(p.bornAt) {
		c.violate("I7", p, "it carries no key, and was held up by %s while the extender could not answer about others: %s of %s are promised", inVain, may, took)
	}
}

// checkAnswer checks the third part of I7: no answer takes longer than one may take, but for those that the harness made slow.
func (c *Checker) checkAnswer(p *pod, took time.Duration) {
	if p.revision != nil && took > c.limits.Answer && !c.slow(c.world.now.Add(-took)) {
		c.violate("I7", p, "an answer about it took %s: %s are what one may take", took, c.limits.Answer)
	}
}

// askedBetween is how much of a time the extender was asked, and how much of that for no answer.
func (w *world) askedBetween(from, to time.Time) (asked, inVain time.Duration) {
	for i := len(w.answers) - 1; i >= 0; i-- {
		s := w.answers[i]
		if s.to.Before(from) {
			break
		}
		begin, end := s.from, s.to
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		asked += end.Sub(begin)
		if s.inVain {
			inVain += end.Sub(begin)
		}
	}
	return asked, inVain
}
