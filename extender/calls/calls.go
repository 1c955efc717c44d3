// Package calls makes calls that others have to wait for too. The scheduler asks about one Pod after another, so an API server that is slow must
// cost it one wait and not one for each call: once a call was waited for in vain, the next are not waited for, until one was fast
// again. A call goes on without its caller, who finds it done when it is made again.
package calls

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// ErrSlow says that a call was not waited for, or not to its end. It names nothing that changes: it comes into the Pod's condition, and each change of that
// is another attempt.
var ErrSlow = errors.New("the API server is slow; it is gone on with meanwhile")

// Calls are of one kind. The zero value is ready, but for the limits.
type Calls[T any] struct {
	// Wait is how long a call is waited for. Above that it is slow.
	Wait time.Duration
	// Timeout ends a call that nobody waits for any more.
	Timeout time.Duration

	flights singleflight.Group
	slow    atomic.Bool
}

// Do makes a call, or joins in the call of the same key that is under way. It blocks for Wait at most, or until ctx ends, and returns ErrSlow where
// that was not enough; any other error is the call's.
func (c *Calls[T]) Do(ctx context.Context, key string, call func(context.Context) (T, error)) (T, error) {
	slow := c.slow.Load() // As of before this call: one that is fast again shows with the next, not by chance with this one.
	unasked := context.WithoutCancel(ctx)
	flight := c.flights.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(unasked, c.Timeout)
		defer cancel()
		begun := time.Now()
		result, err := call(ctx)
		c.slow.Store(time.Since(begun) > c.Wait)
		return result, err
	})
	var none T
	if slow {
		return none, ErrSlow
	}
	ctx, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	select {
	case result := <-flight:
		value, _ := result.Val.(T)
		return value, result.Err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) { // Not where the scheduler has given up.
			c.slow.Store(true)
		}
		return none, ErrSlow
	}
}
