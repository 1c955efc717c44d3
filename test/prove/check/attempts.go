package check

import (
	"reflect"
	"slices"
	"time"
)

// times are when something happened, in order.
type times []time.Time

// before is how often it had happened before a moment.
func (t times) before(moment time.Time) int {
	n, _ := slices.BinarySearchFunc(t, moment, time.Time.Compare)
	return n
}

// attempts are what the waiting of a Pod costs.
type attempts struct {
	// refusals is how often the extender refused it, and since how much had changed before it was first asked about.
	refusals, since int
	// changed is when the Pod itself has changed, or was tried for another reason.
	changed times
	// The run is the part of its refusals, up to the last, that has most of them beyond those that the changes explain: it began at runAt, after runFrom
	// refusals, when runKnown changes were already known to everybody.
	runFrom, runKnown int
	runAt             time.Time
	// looped is set once a loop was reported.
	looped bool
}

// watchLag is how much later than the record the scheduler may learn of a change: its watches are stalled for up to 5 s.
const watchLag = 6 * time.Second

// changesOf is how often something had changed before a moment that makes the scheduler try the Pod again.
func (w *world) changesOf(p *pod, before time.Time) int {
	return w.changed.before(before) + p.waiting.changed.before(before)
}

// change notes a change of the cluster.
func (w *world) change() { w.changed = append(w.changed, w.now) }

// followChanges notes a change of a Pod that makes the scheduler try refused Pods again: of one that is bound, or one that goes or gives a slot back. What
// its condition says, or that it carries a slot, is no change to the Pod itself.
func (w *world) followChanges(ch change) {
	p, before := ch.pod, ch.before
	if p.Node != "" || p.Gone || ch.gave || before != nil && before.Node != "" {
		w.change()
	}
	if before == nil {
		return
	}
	same := *before
	same.Version, same.Listed, same.Reason, same.Message, same.Slot = p.Version, p.Listed, p.Reason, p.Message, p.Slot
	if !reflect.DeepEqual(same, p.Pod) {
		p.waiting.changed = append(p.waiting.changed, w.now)
	}
}

// beginWaiting notes that the Pod was asked about and has not been refused yet.
func (c *Checker) beginWaiting(p *pod) {
	if p.waiting.refusals == 0 {
		p.waiting.since = len(c.world.changed) + len(p.waiting.changed)
	}
}

// countRefusal checks I5 with each refusal: from any earlier one to this, the Pod was refused so often for each change, and once so often for
// what was before. That the cluster has changed much at another time is no excuse for a loop.
func (c *Checker) countRefusal(p *pod) {
	w, a := c.world, &p.waiting
	beyond := func(from, known int) int {
		return a.refusals - from - c.limits.Attempts*(len(w.changed)+len(a.changed)-known+1)
	}
	if known := w.changesOf(p, w.now.Add(-watchLag)); a.refusals == 0 || beyond(a.refusals, known) > beyond(a.runFrom, a.runKnown) {
		a.runFrom, a.runKnown, a.runAt = a.refusals, known, w.now
	}
	a.refusals++
	if beyond(a.runFrom, a.runKnown) > 0 && !a.looped {
		a.looped = true
		c.violate("I5", p, "it was refused %d times within %s while the cluster changed %d times: %d attempts for each change are promised",
			a.refusals-a.runFrom, w.now.Sub(a.runAt), len(w.changed)+len(a.changed)-a.runKnown, c.limits.Attempts)
	}
}

// checkAttempts checks I5 for a Pod whose waiting has ended, or stands still: how often the extender refused it in all for each change that makes
// the scheduler try refused Pods again. One attempt more is its first.
func (c *Checker) checkAttempts(p *pod) {
	a := &p.waiting
	if a.refusals == 0 {
		return
	}
	changes := len(c.world.changed) + len(a.changed) - a.since
	c.report.Refusals = append(c.report.Refusals, a.refusals)
	c.report.Attempts = append(c.report.Attempts, float64(a.refusals)/float64(changes+1))
	if a.refusals > c.limits.Attempts*(changes+1) && !a.looped {
		c.violate("I5", p, "it was refused %d times while the cluster changed %d times: %d attempts for each change are promised", a.refusals, changes, c.limits.Attempts)
	}
	p.waiting = attempts{changed: a.changed}
}
