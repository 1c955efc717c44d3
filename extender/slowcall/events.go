package slowcall

import (
	"context"
	"errors"
	"sync/atomic"
)

// ErrStalled means that an earlier wait for the same thing has reached its deadline, and that there has been no event
// since.
var ErrStalled = errors.New("no event since an earlier wait has reached its deadline")

// Events lets callers wait for a state that changes with the events of a watch. K identifies what a caller waits for;
// use struct{} if all callers wait for the same thing. Create one with NewEvents.
type Events[K comparable] struct {
	next          atomic.Pointer[chan struct{}] // closed and replaced by Notify
	stalled       atomic.Pointer[stalled[K]]
	despiteEvents bool
}

// stalled is the last wait that counts: it has reached its deadline, without an event unless despiteEvents is set.
type stalled[K comparable] struct {
	key  K
	next *chan struct{}
}

// NewEvents returns Events without waiting callers.
func NewEvents[K comparable]() *Events[K] {
	e := &Events[K]{}
	next := make(chan struct{})
	e.next.Store(&next)
	return e
}

// DespiteEvents makes a wait count that has reached its deadline even if there were events during it. Use it if most
// events say nothing about what a caller waits for. Call it before Wait.
func (e *Events[K]) DespiteEvents() *Events[K] {
	e.despiteEvents = true
	return e
}

// Notify makes every waiting caller check again. Call it after the state has changed.
func (e *Events[K]) Notify() {
	next := make(chan struct{})
	close(*e.next.Swap(&next))
}

// Wait blocks until check returns ready, which it calls now and after each event, or until ctx ends. missing is what
// the caller still waits for.
//
// Wait returns ErrStalled instead of blocking if an earlier call has waited for the same thing until its deadline,
// without any event (but see DespiteEvents), and there has been no event since. A canceled context does not count as a
// deadline: it says that the scheduler has given up, and nothing about the watch.
func (e *Events[K]) Wait(ctx context.Context, check func() (missing K, ready bool)) error {
	var first stalled[K]
	for {
		next := e.next.Load() // Before check, or an event in between would be lost.
		missing, ready := check()
		if ready {
			return nil
		}
		this := stalled[K]{missing, next}
		if last := e.stalled.Load(); last != nil && *last == this {
			return ErrStalled
		}
		if first.next == nil || first.key != missing {
			first = this
		}
		select {
		case <-*next:
		case <-ctx.Done():
			if (first == this || e.despiteEvents) && errors.Is(ctx.Err(), context.DeadlineExceeded) {
				e.stalled.Store(&this)
			}
			return ctx.Err()
		}
	}
}
