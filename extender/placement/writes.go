package placement

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
	corev1 "k8s.io/api/core/v1"
)

const (
	// slowWrite is how long an answer waits for a slot to be written. On a healthy API server it takes milliseconds.
	slowWrite = 250 * time.Millisecond
	// writeTimeout ends a write that nobody waits for any more.
	writeTimeout = 10 * time.Second
)

// errSlowWrite names nothing that changes: it comes into the Pod's condition.
var errSlowWrite = errors.New("writing the slot of the Pod: the API server is slow; it is written meanwhile")

// writes are the slots that are being written. The scheduler asks about one Pod after another, and all others wait meanwhile, so an API server
// that is slow must cost them one wait and not one for each local replica: once a write was waited for in vain, the next are not waited for,
// until one was fast again. A write goes on without its asker, who finds it done when the scheduler asks again.
type writes struct {
	slots   Slots
	flights singleflight.Group
	slow    atomic.Bool
}

// written is how a write ended.
type written struct {
	definite bool
	err      error
}

// write blocks for slowWrite at most, or until ctx ends. While a Pod's slot is being written, another call joins in.
func (w *writes) write(ctx context.Context, pod *corev1.Pod) (definite bool, err error) {
	unasked := context.WithoutCancel(ctx)
	flight := w.flights.DoChan(string(pod.UID), func() (any, error) {
		ctx, cancel := context.WithTimeout(unasked, writeTimeout)
		defer cancel()
		begun := time.Now()
		definite, err := w.slots.Write(ctx, pod)
		w.slow.Store(time.Since(begun) > slowWrite)
		return written{definite, err}, nil
	})
	if w.slow.Load() {
		return false, errSlowWrite
	}
	ctx, cancel := context.WithTimeout(ctx, slowWrite)
	defer cancel()
	select {
	case result := <-flight:
		ended := result.Val.(written)
		return ended.definite, ended.err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) { // Not where the scheduler has given up.
			w.slow.Store(true)
		}
		return false, errSlowWrite
	}
}
