package placement

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/extender/slowcall"
)

const (
	// slowWrite is how long an answer waits for the write of a slot. It takes milliseconds if the API server is healthy.
	slowWrite = 250 * time.Millisecond
	// writeTimeout ends a write that continues in the background.
	writeTimeout = 10 * time.Second
)

// slotWriter writes slots. It does not write the slot of a Pod a second time while a write is in progress.
type slotWriter struct {
	slots Slots
	calls slowcall.Limiter[bool]
}

func newSlotWriter(slots Slots) *slotWriter {
	return &slotWriter{slots: slots, calls: slowcall.Limiter[bool]{Wait: slowWrite, Timeout: writeTimeout}}
}

// write blocks for slowWrite at most, or until ctx ends. notWritten is that of Slots.
func (w *slotWriter) write(
	ctx context.Context, pod *corev1.Pod, annotation, value string,
) (notWritten bool, err error) {
	notWritten, err = w.calls.Do(ctx, annotation+"="+value, func(ctx context.Context) (bool, error) {
		return w.slots.Write(ctx, pod, annotation, value)
	})
	if errors.Is(err, slowcall.ErrSlow) {
		return false, fmt.Errorf("writing the slot of the Pod: %w", err)
	}
	return notWritten, err
}
