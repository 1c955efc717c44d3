package slowcall_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/extender/slowcall"
)

// watch is a set of names that grows with events.
type watch struct {
	*slowcall.Events[string]
	mu    sync.Mutex
	names []string
}

func newWatch() *watch { return &watch{Events: slowcall.NewEvents[string]()} }

// event adds a name.
func (w *watch) event(name string) {
	w.mu.Lock()
	w.names = append(w.names, name)
	w.mu.Unlock()
	w.Notify()
}

// wait waits for all names, for a second at most. It returns also for how long Wait blocked.
func (w *watch) wait(t *testing.T, names ...string) (blocked time.Duration, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	start := time.Now()
	err = w.Wait(ctx, func() (string, bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, name := range names {
			if !slices.Contains(w.names, name) {
				return name, false
			}
		}
		return "", true
	})
	return time.Since(start), err
}

func TestEvents(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, w *watch){
		"a state that is ready needs no event": func(t *testing.T, w *watch) {
			w.event("a")
			blocked, err := w.wait(t, "a")
			require.NoError(t, err)
			assert.Zero(t, blocked)
		},
		"a caller waits until the state is ready": func(t *testing.T, w *watch) {
			time.AfterFunc(300*time.Millisecond, func() { w.event("a") })
			time.AfterFunc(600*time.Millisecond, func() { w.event("b") })
			blocked, err := w.wait(t, "a", "b")
			require.NoError(t, err)
			assert.Equal(t, 600*time.Millisecond, blocked)
		},
		"without an event only the first caller waits": func(t *testing.T, w *watch) {
			blocked, err := w.wait(t, "a")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, time.Second, blocked)
			for range 3 {
				blocked, err = w.wait(t, "a")
				require.ErrorIs(t, err, slowcall.ErrStalled)
				assert.Zero(t, blocked)
			}
		},
		"a caller that waits for something else waits": func(t *testing.T, w *watch) {
			_, err := w.wait(t, "a")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			_, err = w.wait(t, "b")
			require.ErrorIs(t, err, context.DeadlineExceeded)
		},
		"after an event callers wait again": func(t *testing.T, w *watch) {
			_, err := w.wait(t, "a")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			w.event("b")
			time.AfterFunc(time.Millisecond, func() { w.event("a") })
			_, err = w.wait(t, "a")
			require.NoError(t, err)
		},
		"a wait in which there was an event does not show a stall": func(t *testing.T, w *watch) {
			time.AfterFunc(500*time.Millisecond, func() { w.event("b") })
			_, err := w.wait(t, "a")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			blocked, err := w.wait(t, "a")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, time.Second, blocked)
			_, err = w.wait(t, "a")
			require.ErrorIs(t, err, slowcall.ErrStalled)
		},
		"despite events a wait counts that has reached its deadline": func(t *testing.T, w *watch) {
			w.DespiteEvents()
			time.AfterFunc(500*time.Millisecond, func() { w.event("b") })
			_, err := w.wait(t, "a")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			_, err = w.wait(t, "a")
			require.ErrorIs(t, err, slowcall.ErrStalled)
			w.event("c")
			_, err = w.wait(t, "a")
			require.ErrorIs(t, err, context.DeadlineExceeded, "after an event callers wait again")
		},
		"a wait for the next thing counts from when it begins": func(t *testing.T, w *watch) {
			time.AfterFunc(500*time.Millisecond, func() { w.event("a") })
			_, err := w.wait(t, "a", "b")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			_, err = w.wait(t, "a", "b")
			require.ErrorIs(t, err, slowcall.ErrStalled)
		},
		"a caller that cancels does not show a stall": func(t *testing.T, w *watch) {
			canceled, cancel := context.WithCancel(t.Context())
			cancel()
			err := w.Wait(canceled, func() (string, bool) { return "a", false })
			require.ErrorIs(t, err, context.Canceled)
			_, err = w.wait(t, "a")
			require.ErrorIs(t, err, context.DeadlineExceeded)
		},
		"all callers are notified": func(t *testing.T, w *watch) {
			var callers sync.WaitGroup
			for range 10 {
				callers.Go(func() {
					_, err := w.wait(t, "a")
					assert.NoError(t, err)
				})
			}
			synctest.Wait()
			w.event("a")
			callers.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, newWatch()) })
		})
	}
}
