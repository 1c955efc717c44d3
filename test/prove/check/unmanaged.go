package check

import (
	"time"

	"github.com/spillway-k8s/spillway/test/prove/plan"
)

// checkNotCalled checks the first part of I7: the scheduler does not call the extender for an unmanaged Pod.
func (c *Checker) checkNotCalled(p *pod) {
	if p.revision != nil && p.request != nil && !c.world.isManaged(p) {
		c.violate("I7", p, "the scheduler called the extender for it, but it is not managed")
	}
}

// maxFailedShare limits the share of a long wait that calls without an answer may take, to 1/maxFailedShare. On an
// overloaded API server slow writes occur again and again.
const maxFailedShare = 20

// checkUnmanaged checks the second part of I7 for a Pod that has just been bound. It has waited for the calls for Pods
// before it in the scheduler's queue. Calls without an answer may have delayed it by no more than the limit of one
// answer, or by a small part of a long wait. A Pod for which the scheduler found no node waited for another reason.
func (c *Checker) checkUnmanaged(p *pod) {
	if c.world.isManaged(p) || p.unfit || p.born.Node != "" || p.Scheduler == plan.OtherScheduler {
		return
	}
	w := c.world
	took := w.now.Sub(p.bornAt)
	held, failed := w.callsBetween(p.bornAt, w.now)
	if w.isDisturbed(p.bornAt) {
		c.report.UnmanagedDisturbed = append(c.report.UnmanagedDisturbed, took)
		c.report.CallsDisturbed = append(c.report.CallsDisturbed, held)
	} else {
		c.report.Unmanaged = append(c.report.Unmanaged, took)
		c.report.Calls = append(c.report.Calls, held)
	}
	c.report.Failed = append(c.report.Failed, failed)
	if may := max(c.limits.Answer, took/maxFailedShare); failed > may && !c.slow(p.bornAt) {
		c.violate(
			"I7",
			p,
			"it is not managed, but calls of the extender without an answer delayed it by %s: want at most "+
				"%s of %s",
			failed,
			may,
			took,
		)
	}
}

// checkAnswer checks the third part of I7: no answer takes longer than the limit, except those that the harness delays.
func (c *Checker) checkAnswer(p *pod, took time.Duration) {
	if p.revision != nil && took > c.limits.Answer && !c.slow(c.world.now.Add(-took)) {
		c.violate("I7", p, "an answer about it took %s: want at most %s", took, c.limits.Answer)
	}
}

// callsBetween returns for how long calls of the extender were running in a period, and those of them without an
// answer.
func (w *world) callsBetween(from, to time.Time) (calls, failed time.Duration) {
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
		calls += end.Sub(begin)
		if s.failed {
			failed += end.Sub(begin)
		}
	}
	return calls, failed
}
