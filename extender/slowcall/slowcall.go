// Package slowcall bounds how long the scheduler waits for something slow. The scheduler handles one Pod at a time, so
// all Pods wait for each answer of the extender. Something slow may cost the scheduler one wait, and not one wait for
// each Pod.
//
// There are two kinds, because what shows that a slow dependency has recovered differs:
//
//   - Limiter is for a call that the extender makes, such as the write of a slot. A slow call continues in the
//     background. How long the next call takes shows whether the dependency is fast again.
//   - Events is for something that the extender receives, such as the events of a watch. Nothing can be called to find
//     out whether it has recovered; only the next event shows that.
package slowcall

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// ErrSlow means that the call has not ended in time, and continues in the background. Its text is part of the Pod's
// condition. It is constant: every change of the condition makes the scheduler retry the Pod.
var ErrSlow = errors.New("the API server is slow; the call continues in the background")

// Limiter makes calls of one kind. After it has waited for a slow call, it returns at once from later calls, until one
// of them has been fast. The zero value is ready to use once the limits are set.
type Limiter[T any] struct {
	// Wait is how long Do waits for a call. A call that takes longer is slow.
	Wait time.Duration
	// Timeout ends a call that continues in the background.
	Timeout time.Duration

	flights singleflight.Group
	slow    atomic.Bool
}

// Do makes a call, or joins the call with the same key that is in progress. It blocks for Wait at most, or until ctx
// ends, and then returns ErrSlow. Any other error is that of the call.
func (l *Limiter[T]) Do(ctx context.Context, key string, call func(context.Context) (T, error)) (T, error) {
	// Read before the call begins. If this call is fast, the next one waits again: whether this one does must not depend
	// on which goroutine runs first.
	slow := l.slow.Load()
	detached := context.WithoutCancel(ctx)
	flight := l.flights.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(detached, l.Timeout)
		defer cancel()
		start := time.Now()
		result, err := call(ctx)
		l.slow.Store(time.Since(start) > l.Wait)
		return result, err
	})
	var none T
	if slow {
		return none, ErrSlow
	}
	ctx, cancel := context.WithTimeout(ctx, l.Wait)
	defer cancel()
	select {
	case result := <-flight:
		value, _ := result.Val.(T)
		return value, result.Err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) { // A scheduler that cancels its request does not show slowness.
			l.slow.Store(true)
		}
		return none, ErrSlow
	}
}
