package wayhome

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// maxHistory is how many controllers of Pods are remembered.
const maxHistory = 10_000

// history remembers what has happened to the Pods of each controller, by its UID. It is lost with the process, so a new
// leader waits before its first move.
type history struct {
	config Config
	of     map[types.UID]*past
}

// past is what has happened to the Pods of one controller.
type past struct {
	// until is when its next Pod may move, and failed says that a failure is the reason.
	until  time.Time
	failed bool
	// backoff is the pause after the next failure.
	backoff time.Duration
	// moved is when the last Pod has moved, zero if that counts no more.
	moved time.Time
	// fits is since when there has been room for a Pod, zero if there is none.
	fits time.Time
	// seen is when it was used last.
	seen time.Time
}

func newHistory(config Config) *history { return &history{config: config, of: map[types.UID]*past{}} }

// get returns what is known about a controller.
func (h *history) get(uid types.UID, now time.Time) *past {
	p, ok := h.of[uid]
	if !ok {
		h.trim(now)
		p = &past{}
		h.of[uid] = p
	}
	p.seen = now
	return p
}

// trim forgets controllers that have not been used for longer than anything about them matters, and if that is not
// enough, any others.
func (h *history) trim(now time.Time) {
	if len(h.of) < maxHistory {
		return
	}
	for uid, p := range h.of {
		if now.Sub(p.seen) > firstBackoff && !p.until.After(now) {
			delete(h.of, uid)
		}
	}
	for uid := range h.of {
		if len(h.of) < maxHistory {
			return
		}
		delete(h.of, uid)
	}
}

// pause is the pause after a move that went well.
func (h *history) pause(p *past, now time.Time) {
	p.until, p.failed = now.Add(h.config.Pause.Duration), false
	p.moved, p.fits = now, time.Time{}
}

// fail is the pause after a move that failed, or after which the workload has burst again. It doubles each time.
func (h *history) fail(p *past, now time.Time) {
	if p.backoff == 0 || now.Sub(p.until) > 2*p.backoff { // It has gone well for longer than the last pause.
		p.backoff = h.config.firstBackoff()
	}
	p.until, p.failed = now.Add(p.backoff), true
	p.backoff = min(2*p.backoff, h.config.MaxPause.Duration)
	p.moved, p.fits = time.Time{}, time.Time{}
}

// burst notes that a Pod was created in the cloud at a moment. The API server cuts that off to the second, so a Pod of
// the second of the last move counts as a later one: at worst it costs a pause.
func (h *history) burst(p *past, created, now time.Time) {
	if !p.moved.IsZero() && !created.Before(p.moved.Truncate(time.Second)) &&
		created.Sub(p.moved) < h.config.firstBackoff() {
		h.fail(p, now)
	}
}

// steady notes whether there is room for a Pod, and reports whether there has been for as long as it must have been.
func (h *history) steady(p *past, fits bool, now time.Time) bool {
	switch {
	case !fits:
		p.fits = time.Time{}
		return false
	case p.fits.IsZero():
		p.fits = now
	}
	return now.Sub(p.fits) >= h.config.StableFor.Duration
}
