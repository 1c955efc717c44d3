package slowcall_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/extender/slowcall"
)

// call returns 7 after some time, and counts how often it was made.
type call struct {
	slowcall.Limiter[int]
	takes time.Duration
	made  atomic.Int32
	err   error
}

func newCall(takes time.Duration) *call {
	return &call{Limiter: slowcall.Limiter[int]{Wait: time.Second, Timeout: 10 * time.Second}, takes: takes}
}

// do makes the call. It returns also for how long Do blocked.
func (c *call) do(ctx context.Context) (result int, blocked time.Duration, err error) {
	start := time.Now()
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
	return result, time.Since(start), err
}

func TestLimiter(t *testing.T) {
	for name, test := range map[string]func(t *testing.T){
		"it waits for a fast call": func(t *testing.T) {
			result, blocked, err := newCall(time.Millisecond).do(t.Context())
			require.NoError(t, err)
			assert.Equal(t, 7, result)
			assert.Equal(t, time.Millisecond, blocked)
		},
		"it returns the error of the call": func(t *testing.T) {
			c := newCall(0)
			c.err = errors.New("no")
			_, _, err := c.do(t.Context())
			require.ErrorIs(t, err, c.err)
		},
		"it makes a slow call once, and waits for it once": func(t *testing.T) {
			c := newCall(5 * time.Second)
			_, blocked, err := c.do(t.Context())
			require.ErrorIs(t, err, slowcall.ErrSlow)
			assert.Equal(t, time.Second, blocked)
			for range 3 {
				_, blocked, err = c.do(t.Context())
				require.ErrorIs(t, err, slowcall.ErrSlow)
				assert.Zero(t, blocked)
			}
			assert.EqualValues(t, 1, c.made.Load())
		},
		"it waits again after a call was fast": func(t *testing.T) {
			for range 1000 { // The result must not depend on which goroutine runs first.
				c := newCall(5 * time.Second)
				_, _, err := c.do(t.Context())
				require.ErrorIs(t, err, slowcall.ErrSlow)
				time.Sleep(5 * time.Second)
				synctest.Wait()
				c.takes = 0
				_, _, err = c.do(t.Context())
				require.ErrorIs(t, err, slowcall.ErrSlow, "a call is not known to be fast before it has ended")
				synctest.Wait()
				result, _, err := c.do(t.Context())
				require.NoError(t, err)
				require.Equal(t, 7, result)
			}
		},
		"a call that continues in the background ends at its timeout": func(t *testing.T) {
			c := newCall(time.Hour)
			_, _, err := c.do(t.Context())
			require.ErrorIs(t, err, slowcall.ErrSlow)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			_, _, err = c.do(t.Context())
			require.ErrorIs(t, err, slowcall.ErrSlow)
			synctest.Wait()
			assert.EqualValues(t, 2, c.made.Load())
		},
		"a caller that cancels does not make the call count as slow": func(t *testing.T) {
			c := newCall(time.Millisecond)
			canceled, cancel := context.WithCancel(t.Context())
			cancel()
			_, _, err := c.do(canceled)
			require.ErrorIs(t, err, slowcall.ErrSlow)
			_, _, err = c.do(t.Context())
			require.NoError(t, err)
			assert.EqualValues(t, 1, c.made.Load(), "the second caller joins the call")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test(t)
				time.Sleep(time.Minute) // All calls in the background end.
			})
		})
	}
}
