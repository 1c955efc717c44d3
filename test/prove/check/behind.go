package check

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// keepsUp is how long a Pod may wait for its first attempt while the scheduler keeps up. Behind that, refused Pods wait for longer too: as long as
// others are in its queue, the scheduler leaves them in their backoff of a second and more.
const keepsUp = 300 * time.Millisecond

// follow notes whether a Pod waits for its first attempt: that it was tried shows in a question, its condition or its binding.
func (w *world) follow(p *pod) {
	_, waits := w.untried[p.UID]
	untried := p.Active() && p.Node == "" && p.Reason == "" && p.asked == nil && p.Scheduler == corev1.DefaultSchedulerName
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

// isBehind tells whether the scheduler did not keep up at some time since.
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

// rest is how long the scheduler asks nothing when its queue is empty. As long as others are in it, it leaves refused Pods in their backoff of a second
// and more, whoever wakes them.
const rest = 100 * time.Millisecond

// hasRested tells whether the scheduler's queue was empty at some time since, as far as its questions show.
func (w *world) hasRested(since time.Time) bool {
	end := w.now
	for i := len(w.answers) - 1; i >= 0 && end.After(since); i-- {
		begin := w.answers[i].to
		if begin.Before(since) {
			begin = since
		}
		if end.Sub(begin) >= rest {
			return true
		}
		end = w.answers[i].from
	}
	return end.Sub(since) >= rest
}
