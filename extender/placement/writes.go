package placement

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/extender/calls"
)

// slowWrite is how long an answer waits for a slot to be written, and writeTimeout ends a write that nobody waits for any more. On a healthy API server
// it takes milliseconds.
const (
	slowWrite    = 250 * time.Millisecond
	writeTimeout = 10 * time.Second
)

// writes are the slots that are being written, each once.
type writes struct {
	slots Slots
	calls calls.Calls[bool]
}

func newWrites(slots Slots) *writes {
	return &writes{slots: slots, calls: calls.Calls[bool]{Wait: slowWrite, Timeout: writeTimeout}}
}

// write blocks for slowWrite at most, or until ctx ends.
func (w *writes) write(ctx context.Context, pod *corev1.Pod) (definite bool, err error) {
	definite, err = w.calls.Do(ctx, string(pod.UID), func(ctx context.Context) (bool, error) { return w.slots.Write(ctx, pod) })
	if errors.Is(err, calls.ErrSlow) {
		return false, fmt.Errorf("writing the slot of the Pod: %w", err)
	}
	return definite, err
}
