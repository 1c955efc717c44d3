package fairness

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

const (
	// startFactor is by how much one second at the limit raises the rate, until the service refuses for the first time.
	startFactor = 0.5
	// stepFactor is by how much of the first rate, or of the present one if that is lower, one second at the limit
	// raises the rate after that.
	stepFactor = 0.05
	// refusedFactor is what remains of the rate after a refusal. Half of it, as for TCP, would leave more of what the
	// service takes unused.
	refusedFactor = 0.7
	// leastFactor is the lowest rate, as a part of the first one.
	leastFactor = 0.05
	// recently is how long ago a request may have waited for the rate that still counts as a sign that the rate is what
	// limits the requests.
	recently = time.Second
)

// adapted is how the rate of a Limiter follows what a service takes: by additive increase and multiplicative decrease,
// which also lets several clients of the service come to equal parts. The Limiter's mutex guards it.
type adapted struct {
	first, most float64
	burst       int
	now         float64
	// limited is when a request last waited for the rate. reduced is when the rate was last reduced, zero if never.
	limited, reduced time.Time
}

// Accepted records that the service has taken a request. The rate grows, but only while it is what limits the
// requests: a rate that no client uses says nothing about the service.
func (l *Limiter) Accepted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := &l.adapted
	if a.now >= a.most || a.limited.IsZero() || time.Since(a.limited) > recently {
		return
	}
	// There are as many of these in a second as the rate says.
	step := startFactor
	if !a.reduced.IsZero() {
		step = stepFactor * min(a.first/a.now, 1)
	}
	l.set(min(a.now+step, a.most))
}

// Refused records that the service has refused a request because there were too many. sent is when it was sent: the
// requests that were under way when the rate was last reduced say nothing about the new rate.
func (l *Limiter) Refused(sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := &l.adapted
	if !sent.After(a.reduced) {
		return
	}
	a.reduced = time.Now()
	l.set(max(a.now*refusedFactor, a.first*leastFactor))
}

// Rate returns how many requests per second may be sent in the long run.
func (l *Limiter) Rate() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.adapted.now
}

// set changes the rate. Below the first rate, fewer requests may be sent at once too, because they may be what the
// service refuses.
func (l *Limiter) set(now float64) {
	a := &l.adapted
	a.now = now
	l.rate.SetLimit(rate.Limit(now))
	l.rate.SetBurst(int(math.Ceil(float64(a.burst) * min(now/a.first, 1))))
}

// noteLimited records that a request is about to wait for the rate.
func (l *Limiter) noteLimited() {
	if l.rate.Tokens() >= 1 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.adapted.limited = time.Now()
}
