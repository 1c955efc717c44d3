package check

import (
	"reflect"
	"slices"
	"time"
)

// times are points in time, in order.
type times []time.Time

// before returns the number of points before a moment.
func (t times) before(moment time.Time) int {
	n, _ := slices.BinarySearchFunc(t, moment, time.Time.Compare)
	return n
}

// attempts counts the scheduling attempts of a waiting Pod.
type attempts struct {
	// refusals is how often the extender refused the Pod. since is the number of changes before the first request about
	// it.
	refusals, since int
	// changed is when the Pod itself changed, or was retried for another reason.
	changed times
	// The run is the sequence of its latest refusals that exceeds what the changes allow by most. It began at runAt,
	// after runFrom refusals, when all components had received runKnown changes.
	runFrom, runKnown int
	runAt             time.Time
	// looped is set once a loop has been reported.
	looped bool
}

// watchLag is how long after the record the scheduler may receive a change: its watches stall for up to 5 s.
const watchLag = 6 * time.Second

// changesOf returns the number of changes before a moment that make the scheduler retry the Pod.
func (w *world) changesOf(p *pod, before time.Time) int {
	return w.changed.before(before) + p.waiting.changed.before(before)
}

// change records a change of the cluster.
func (w *world) change() { w.changed = append(w.changed, w.now) }

// followChanges records a change of a Pod that makes the scheduler retry refused Pods: a bound Pod changes, or a Pod is
// deleted or gives a slot back. A new condition or a new slot is not a change of the Pod itself.
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

// followShares records a change of the shares of a revision or of its number of replicas: the extender requeues Pods
// for which room has changed.
func (w *world) followShares(ch change) {
	p, before := ch.pod, ch.before
	if before != nil && before.Active() == p.Active() && ch.left == p.revision && p.now().version != p.Version {
		return
	}
	p.revision.retry(p, w.now)
	if ch.left != nil && ch.left != p.revision {
		ch.left.retry(p, w.now)
	}
}

// retry records that the refused Pods of the revision, except for one, may be retried.
func (r *revision) retry(but *pod, now time.Time) {
	for _, p := range r.pods {
		if p != but && p.Node == "" && p.waiting.refusals > 0 {
			p.waiting.changed = append(p.waiting.changed, now)
		}
	}
}

// beginWaiting records that a request about the Pod was sent and that the Pod has not been refused yet.
func (c *Checker) beginWaiting(p *pod) {
	if p.waiting.refusals == 0 {
		p.waiting.since = len(c.world.changed) + len(p.waiting.changed)
	}
}

// countRefusal checks I5 with each refusal. From any earlier refusal to this one, the Pod may be refused a number of
// times per change, and the same number of times without a change. Many changes at another time do not excuse a loop.
func (c *Checker) countRefusal(p *pod) {
	w, a := c.world, &p.waiting
	beyond := func(from, known int) int {
		return a.refusals - from - c.limits.Attempts*(len(w.changed)+len(a.changed)-known+1)
	}
	if known := w.changesOf(p, w.now.Add(-watchLag)); a.refusals == 0 ||
		beyond(a.refusals, known) > beyond(a.runFrom, a.runKnown) {
		a.runFrom, a.runKnown, a.runAt = a.refusals, known, w.now
	}
	a.refusals++
	if beyond(a.runFrom, a.runKnown) > 0 && !a.looped {
		a.looped = true
		c.violate("I5", p, "it was refused %d times within %s while the cluster changed %d times: want at most %d "+
			"attempts per change",
			a.refusals-a.runFrom, w.now.Sub(a.runAt), len(w.changed)+len(a.changed)-a.runKnown, c.limits.Attempts)
	}
}

// checkAttempts checks I5 for a Pod that no longer waits, or that is quiet: the number of all its refusals per change
// that makes the scheduler retry refused Pods. The first attempt needs no change.
func (c *Checker) checkAttempts(p *pod) {
	a := &p.waiting
	if a.refusals == 0 {
		return
	}
	changes := len(c.world.changed) + len(a.changed) - a.since
	c.report.Refusals = append(c.report.Refusals, a.refusals)
	c.report.Attempts = append(c.report.Attempts, float64(a.refusals)/float64(changes+1))
	if a.refusals > c.limits.Attempts*(changes+1) && !a.looped {
		c.violate("I5", p, "it was refused %d times while the cluster changed %d times: want at most %d attempts "+
			"per change",
			a.refusals, changes, c.limits.Attempts)
	}
	p.waiting = attempts{changed: a.changed}
}
