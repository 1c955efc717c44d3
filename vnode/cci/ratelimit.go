package cci

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// pace holds requests back: by a token bucket, and for as long as the service has asked to be left alone.
type pace struct {
	limiter *rate.Limiter

	mu    sync.Mutex
	until time.Time
}

func newPace(qps float64, burst int) *pace {
	return &pace{limiter: rate.NewLimiter(rate.Limit(qps), burst)}
}

// wait blocks until a request may go, or until ctx ends.
func (p *pace) wait(ctx context.Context) error {
	if err := sleep(ctx, time.Until(p.pausedUntil())); err != nil {
		return err
	}
	return p.limiter.Wait(ctx)
}

// pause lets no request go for that long.
func (p *pace) pause(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := time.Now().Add(d); until.After(p.until) {
		p.until = until
	}
}

func (p *pace) pausedUntil() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.until
}

// sleep blocks for d, or until ctx ends, which is an error.
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
