package cci

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// mostFailures is after how many requests in a row without an answer nobody asks for a while.
	mostFailures = 10
	// longestBreak is between two probes at most, before jitter.
	longestBreak = 30 * time.Second
)

// breaker leaves a service alone that answers nobody. After mostFailures in a row every request fails at once, without being sent, for a while
// that doubles; then one goes as a probe, and when that is answered, all go again.
type breaker struct {
	now   func() time.Time
	first time.Duration

	mu       sync.Mutex
	failures int
	pause    time.Duration
	until    time.Time
	probing  bool
	last     error
}

// admit is nil where a request may be sent; done must be called then.
func (b *breaker) admit() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < mostFailures {
		return nil
	}
	left := b.until.Sub(b.now())
	if left > 0 || b.probing {
		return &Error{Kind: Transient, Message: "the cloud answers nobody and is left alone for a while", After: max(left, 0), cause: b.last, unsent: true}
	}
	b.probing = true
	return nil
}

// done takes the end of a request that was sent.
func (b *breaker) done(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	switch {
	case err != nil && KindOf(err) == "": // The caller has gone: that says nothing.
	case !isSilence(err):
		b.failures, b.pause = 0, 0
	default:
		b.failures, b.last = b.failures+1, err
		// What was under way when the break began says nothing new.
		if b.failures >= mostFailures && !b.now().Before(b.until) {
			b.pause = min(max(2*b.pause, b.first), longestBreak)
			b.until = b.now().Add(wait.Jitter(b.pause, 0.2))
		}
	}
}

// isSilence tells no answer, and an error of the service's own, from an answer.
func isSilence(err error) bool {
	return IsTransient(err) && (statusOf(err) == 0 || statusOf(err) >= 500)
}
