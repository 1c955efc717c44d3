package check

import (
	"time"

	"github.com/spillway-k8s/spillway/test/prove/plan"
)

// keepsUp is how long a Pod waits for its first attempt at most while the scheduler keeps up. If it waits longer,
// refused Pods wait longer too: while the scheduler's queue is not empty, they stay in their backoff of a second or
// more.
const keepsUp = 300 * time.Millisecond

// follow records whether a Pod waits for its first attempt. A request, its condition or its binding shows an attempt.
func (w *world) follow(p *pod) {
	_, waits := w.untried[p.UID]
	untried := p.Active() && p.Node == "" && p.Reason == "" && p.request == nil &&
		p.Scheduler != plan.OtherScheduler
	switch {
	case untried && !waits:
		w.untried[p.UID] = w.now
	case waits && !untried:
		if w.now.Sub(w.untried[p.UID]) > keepsUp {
			w.behind = w.now
		}
		delete(w.untried, p.UID)
	}
}

// isBehind reports whether the scheduler did not keep up at some time since the given time.
func (w *world) isBehind(since time.Time) bool {
	if w.behind.After(since) {
		return true
	}
	for _, waits := range w.untried {
		if w.now.Sub(waits) > keepsUp {
			return true
		}
	}
	return false
}

// idleAfter is how long the scheduler sends no request when its queue is empty. While the queue is not empty, refused
// Pods stay in their backoff of a second or more, even after a requeue.
const idleAfter = 100 * time.Millisecond

// wasIdle reports whether the scheduler's queue was empty at some time since the given time, as far as requests show.
func (w *world) wasIdle(since time.Time) bool {
	end := w.now
	for i := len(w.answers) - 1; i >= 0 && end.After(since); i-- {
		begin := w.answers[i].to
		if begin.Before(since) {
			begin = since
		}
		if end.Sub(begin) >= idleAfter {
			return true
		}
		end = w.answers[i].from
	}
	return end.Sub(since) >= idleAfter
}
