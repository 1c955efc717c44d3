package calls_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/extender/calls"
)

// call answers 7 after a while, and counts how often it was made.
type call struct {
	calls.Calls[int]
	takes time.Duration
	made  atomic.Int32
	err   error
}

func newCall(takes time.Duration) *call {
	return &call{Calls: calls.Calls[int]{Wait: time.Second, Timeout: 10 * time.Second}, takes: takes}
}

// do makes the call, and says how long it blocked.
func (c *call) do(ctx context.Context) (result int, blocked time.Duration, err error) {
	began := time.Now()
	takes := c.takes
	result, err = c.Do(ctx, "key", func(ctx context.Context) (int, error) {
		c.made.Add(1)
		select {
		case <-time.After(takes):
			return 7, c.err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	})
	return result, time.Since(began), err
}

func TestCalls(t *testing.T) {
	for name, play := range map[string]func(t *testing.T){
		"a fast call is waited for": func(t *testing.T) {
			result, blocked, err := newCall(time.Millisecond).do(t.Context())
			require.NoError(t, err)
			assert.Equal(t, 7, result)
			assert.Equal(t, time.Millisecond, blocked)
		},
		"its error is the caller's": func(t *testing.T) {
			c := newCall(0)
			c.err = errors.New("no")
			_, _, err := c.do(t.Context())
			require.ErrorIs(t, err, c.err)
		},
		"a slow one is waited for once, and made once": func(t *testing.T) {
			c := newCall(5 * time.Second)
			_, blocked, err := c.do(t.Context())
			require.ErrorIs(t, err, calls.ErrSlow)
			assert.Equal(t, time.Second, blocked)
			for range 3 {
				_, blocked, err = c.do(t.Context())
				require.ErrorIs(t, err, calls.ErrSlow)
				assert.Zero(t, blocked)
			}
			assert.EqualValues(t, 1, c.made.Load())
		},
		"after a fast one it is waited for again": func(t *testing.T) {
			for range 1000 { // Whichever goroutine runs first.
				c := newCall(5 * time.Second)
				_, _, err := c.do(t.Context())
				require.ErrorIs(t, err, calls.ErrSlow)
				time.Sleep(5 * time.Second)
				synctest.Wait()
				c.takes = 0
				_, _, err = c.do(t.Context())
				require.ErrorIs(t, err, calls.ErrSlow, "it is not known to be fast before it has ended")
				synctest.Wait()
				result, _, err := c.do(t.Context())
				require.NoError(t, err)
				require.Equal(t, 7, result)
			}
		},
		"one that nobody waits for ends": func(t *testing.T) {
			c := newCall(time.Hour)
			_, _, err := c.do(t.Context())
			require.ErrorIs(t, err, calls.ErrSlow)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			_, _, err = c.do(t.Context())
			require.ErrorIs(t, err, calls.ErrSlow)
			synctest.Wait()
			assert.EqualValues(t, 2, c.made.Load())
		},
		"a caller who gives up makes nothing slow": func(t *testing.T) {
			c := newCall(time.Millisecond)
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			_, _, err := c.do(gone)
			require.ErrorIs(t, err, calls.ErrSlow)
			_, _, err = c.do(t.Context())
			require.NoError(t, err)
			assert.EqualValues(t, 1, c.made.Load(), "it joins in")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				play(t)
				time.Sleep(time.Minute) // Whatever goes on ends.
			})
		})
	}
}
