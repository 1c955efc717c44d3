package cci

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// rateLimiter delays requests: by a token bucket, and for the time of a Retry-After header.
type rateLimiter struct {
	limiter *rate.Limiter

	mu    sync.Mutex
	until time.Time
}

func newRateLimiter(qps float64, burst int) *rateLimiter {
	return &rateLimiter{limiter: rate.NewLimiter(rate.Limit(qps), burst)}
}

// wait blocks until a request may be sent or ctx ends.
func (r *rateLimiter) wait(ctx context.Context) error {
	if err := sleep(ctx, time.Until(r.pausedUntil())); err != nil {
		return err
	}
	return r.limiter.Wait(ctx)
}

// pause blocks all requests for d. It never shortens an earlier pause.
func (r *rateLimiter) pause(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if until := time.Now().Add(d); until.After(r.until) {
		r.until = until
	}
}

func (r *rateLimiter) pausedUntil() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.until
}

// sleep blocks for d or until ctx ends. It returns the error of ctx in the second case.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
