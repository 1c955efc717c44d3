package cci

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// breakerThreshold is the number of consecutive requests without an answer after which the breaker opens.
	breakerThreshold = 10
	// maxBreakerDelay is the longest delay between two probes, before jitter.
	maxBreakerDelay = 30 * time.Second
)

// breaker is a circuit breaker. After breakerThreshold consecutive requests without an answer it opens: every request
// fails immediately, without being sent, for a delay that doubles each time. Then one request is sent as a probe. When
// a probe is answered, the breaker closes.
//
// The requests of one namespace alone never open it, because the service may fail for what its Pods contain. Neither
// do they keep it open: a namespace whose probe failed does not send the next one. Requests without a namespace are
// those of the program itself.
type breaker struct {
	now func() time.Time
	// first is the delay after the breaker opens.
	first time.Duration

	mu       sync.Mutex
	failures int
	// suspect is the only namespace whose requests were not answered, empty if there are several.
	suspect string
	// prober is the namespace of the last probe that was not answered.
	prober  string
	delay   time.Duration
	until   time.Time
	probing bool
	last    error
}

// admit returns nil if a request of a namespace may be sent. The caller must then call done.
func (b *breaker) admit(namespace string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.isOpen() {
		return nil
	}
	left := b.until.Sub(b.now())
	if left > 0 || b.probing || (namespace != "" && namespace == b.prober) {
		return &Error{
			Kind: Transient, Message: "the cloud does not answer: no requests are sent for now", After: max(left, 0),
			cause: b.last, unsent: true,
		}
	}
	b.probing = true
	return nil
}

func (b *breaker) isOpen() bool { return b.failures >= breakerThreshold && b.suspect == "" }

// done records the result of a request of a namespace that was sent.
func (b *breaker) done(namespace string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	probed := b.probing
	b.probing = false
	switch {
	case err != nil && KindOf(err) == "": // The caller has canceled the request, which says nothing about the cloud.
	case !isUnanswered(err):
		b.failures, b.delay, b.suspect, b.prober = 0, 0, "", ""
	default:
		switch {
		case b.failures == 0:
			b.suspect = namespace
		case b.suspect != namespace:
			b.suspect = ""
		}
		if probed {
			b.prober = namespace
		}
		b.failures, b.last = b.failures+1, err
		// Requests that were already under way when the breaker opened do not extend the delay.
		if b.isOpen() && !b.now().Before(b.until) {
			b.delay = min(max(2*b.delay, b.first), maxBreakerDelay)
			b.until = b.now().Add(wait.Jitter(b.delay, 0.2))
		}
	}
}

// isUnanswered reports whether there was no answer, or an internal error of the service.
func isUnanswered(err error) bool {
	return IsTransient(err) && (statusOf(err) == 0 || statusOf(err) >= 500)
}
