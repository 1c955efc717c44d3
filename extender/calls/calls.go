// Package calls makes calls that others have to wait for too. The scheduler asks about one Pod after another, so an API server that is slow must
// cost it one wait and not one for each call: once a call was waited for in vain, the next are not waited for, until one was fast
// again. One that is slow now and then must not cost that wait each time: with each slow call the next are waited for half as long, and longer again
// as fast ones follow, so that waiting in vain stays a small part of it all. A call goes on without its caller, who finds it done when it is made again.
package calls

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// ErrSlow says that a call was not waited for, or not to its end. It names nothing that changes: it comes into the Pod's condition, and each change of that
// is another attempt.
var ErrSlow = errors.New("the API server is slow; it is gone on with meanwhile")

// Calls are of one kind. The zero value is ready, but for the limits.
type Calls[T any] struct {
	// Wait is how long a call is waited for at most. Above that it is slow.
	Wait time.Duration
	// Timeout ends a call that nobody waits for any more.
	Timeout time.Duration

	flights singleflight.Group

	mu sync.Mutex
	// slow: a call was waited for in vain, and none was fast since.
	slow bool
	// lost is how much of Wait calls are not waited for.
	lost time.Duration
}

// After slow calls Wait/mostLost are left of Wait, and with each fast one Wait/slowGain is gained back. Slow calls that are one of n then cost n/32 of Wait each, or all
// of it.
const (
	mostLost = 8
	slowGain = 64
)

// Do makes a call, or joins in the call of the same key that is under way. It blocks for Wait at most, or until ctx ends, and returns ErrSlow where
// that was not enough; any other error is the call's.
func (c *Calls[T]) Do(ctx context.Context, key string, call func(context.Context) (T, error)) (T, error) {
	wait := c.patience() // As of before this call: one that is fast again shows with the next, not by chance with this one.
	unasked := context.WithoutCancel(ctx)
	flight := c.flights.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(unasked, c.Timeout)
		defer cancel()
		begun := time.Now()
		result, err := call(ctx)
		c.learn(time.Since(begun))
		return result, err
	})
	var none T
	if wait == 0 {
		return none, ErrSlow
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	select {
	case result := <-flight:
		value, _ := result.Val.(T)
		return value, result.Err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) { // Not where the scheduler has given up.
			c.mu.Lock()
			defer c.mu.Unlock()
			c.slow = true
		}
		return none, ErrSlow
	}
}

// patience is how long a call is waited for now.
func (c *Calls[T]) patience() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.slow {
		return 0
	}
	return c.Wait - c.lost
}

// learn follows how long a call took, whether or not anybody waited for it.
func (c *Calls[T]) learn(took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.slow = took > c.Wait; c.slow {
		c.lost = min((c.Wait+c.lost)/2, c.Wait-c.Wait/mostLost)
		return
	}
	c.lost = max(c.lost-c.Wait/slowGain, 0)
}
