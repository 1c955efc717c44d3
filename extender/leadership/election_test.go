package leadership_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/extender/leadership"
)

// candidate is an Election that a test runs.
type candidate struct {
	*leadership.Election
	blocked atomic.Bool
	// started and settled count calls of the callbacks.
	started, settled atomic.Int32
	stop             func()
}

// start starts a candidate, whose terms settle with the function. It stops at the end of the test.
func start(t *testing.T, api *leaseAPI, identity string, settle func(context.Context) error) *candidate {
	t.Helper()
	c := &candidate{}
	c.Election = leadership.NewElection(leadership.Config{
		Client: api.client(&c.blocked), Namespace: "default", Name: "extender", Identity: identity,
		Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		assert.NoError(t, c.Run(ctx, leadership.Callbacks{
			Settle: func(ctx context.Context) error {
				c.settled.Add(1)
				return settle(ctx)
			},
			StartedLeading: func() { c.started.Add(1) },
		}))
	}()
	c.stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(c.stop)
	return c
}

func settles(context.Context) error { return nil }

// term returns the current term, and requires that there is one.
func (c *candidate) term(t *testing.T) leadership.Term {
	t.Helper()
	synctest.Wait()
	term, err := c.CurrentTerm(t.Context())
	require.NoError(t, err)
	require.NoError(t, c.Ready())
	return term
}

// awaitTerm waits for a term, and returns also for how long.
func (c *candidate) awaitTerm(t *testing.T) (leadership.Term, time.Duration) {
	t.Helper()
	begin := time.Now()
	for c.Ready() != nil {
		require.Less(t, time.Since(begin), time.Minute, "it does not lead")
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
	}
	return c.term(t), time.Since(begin)
}

func (c *candidate) requireNotLeading(t *testing.T, why string) {
	t.Helper()
	synctest.Wait()
	require.ErrorIs(t, c.Ready(), leadership.ErrNotLeading, why)
	_, err := c.CurrentTerm(t.Context())
	require.ErrorIs(t, err, leadership.ErrNotLeading, why)
}

func TestElection(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, api *leaseAPI){
		"a stopped leader releases the Lease, and another leads about 2 s later": func(t *testing.T, api *leaseAPI) {
			first := start(t, api, "first", settles)
			term := first.term(t)
			assert.EqualValues(t, 1, first.started.Load())
			second := start(t, api, "second", settles)
			second.requireNotLeading(t, "the first one leads")
			require.NoError(t, first.VerifyTerm(t.Context(), term))
			first.stop()
			first.requireNotLeading(t, "it has stopped")
			next, took := second.awaitTerm(t)
			assert.LessOrEqual(t, took, 2250*time.Millisecond, "the retry period, with jitter")
			assert.NotEqual(t, term, next)
			require.ErrorIs(t, first.VerifyTerm(t.Context(), term), leadership.ErrNotLeading)
			require.NoError(t, second.VerifyTerm(t.Context(), next))
		},
		"a leader without a connection stops before another can lead": func(t *testing.T, api *leaseAPI) {
			first := start(t, api, "first", settles)
			first.term(t)
			second := start(t, api, "second", settles)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			first.blocked.Store(true)
			begin := time.Now()
			for first.Ready() == nil {
				time.Sleep(10 * time.Millisecond)
				require.ErrorIs(t, second.Ready(), leadership.ErrNotLeading)
			}
			assert.LessOrEqual(t, time.Since(begin), 5*time.Second, "at least a second before the Lease expires")
			_, took := second.awaitTerm(t)
			assert.Positive(t, took)
			first.blocked.Store(false)
			time.Sleep(10 * time.Second)
			first.requireNotLeading(t, "the second one still leads")
			assert.Equal(t, "second", api.holder(t))
		},
		"a leader that lost its Lease fails to verify its term": func(t *testing.T, api *leaseAPI) {
			first := start(t, api, "first", settles)
			term := first.term(t)
			api.acquire("other")
			require.ErrorIs(t, first.VerifyTerm(t.Context(), term), leadership.ErrNotLeading)
			first.requireNotLeading(t, "it has seen that it lost the Lease")
			next, _ := first.awaitTerm(t) // The other holder does not renew the Lease.
			assert.NotEqual(t, term, next)
			require.ErrorIs(t, first.VerifyTerm(t.Context(), term), leadership.ErrNotLeading)
			require.NoError(t, first.VerifyTerm(t.Context(), next), "verifying the old term has not ended the new one")
			assert.EqualValues(t, 2, first.settled.Load(), "each term settles")
		},
		"a leader does not release the Lease of another holder": func(t *testing.T, api *leaseAPI) {
			first := start(t, api, "first", settles)
			first.term(t)
			api.acquire("other")
			first.stop()
			assert.Equal(t, "other", api.holder(t))
		},
		"a new term begins after the Lease is deleted": func(t *testing.T, api *leaseAPI) {
			first := start(t, api, "first", settles)
			term := first.term(t)
			api.remove()
			require.ErrorContains(t, first.VerifyTerm(t.Context(), term), "reading lease default/extender")
			require.NoError(t, first.Ready(), "an error of the API server does not end the term")
			time.Sleep(3 * time.Second)
			synctest.Wait()
			require.ErrorIs(t, first.VerifyTerm(t.Context(), term), leadership.ErrNotLeading)
			next, _ := first.awaitTerm(t)
			assert.NotEqual(t, term, next)
		},
		"a term is neither verified nor ended while the API server does not answer": func(t *testing.T, api *leaseAPI) {
			first := start(t, api, "first", settles)
			term := first.term(t)
			first.blocked.Store(true)
			require.ErrorContains(t, first.VerifyTerm(t.Context(), term), "connection refused")
			first.blocked.Store(false)
			require.NoError(t, first.VerifyTerm(t.Context(), term))
		},
		"an extender leads once its term has settled": func(t *testing.T, api *leaseAPI) {
			fails := atomic.Bool{}
			fails.Store(true)
			first := start(t, api, "first", func(context.Context) error {
				if fails.Load() {
					return errors.New("the watch has stalled")
				}
				return nil
			})
			first.requireNotLeading(t, "its term has not settled")
			assert.Equal(t, "first", api.holder(t))
			time.Sleep(5 * time.Second)
			synctest.Wait()
			assert.EqualValues(t, 6, first.settled.Load(), "settling is retried every second")
			assert.Zero(t, first.started.Load())
			fails.Store(false)
			_, took := first.awaitTerm(t)
			assert.LessOrEqual(t, took, time.Second)
		},
		"a leader whose term does not settle releases the Lease after 10 s": func(t *testing.T, api *leaseAPI) {
			stalled := start(t, api, "stalled", func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			})
			synctest.Wait()
			assert.Equal(t, "stalled", api.holder(t))
			other := start(t, api, "other", settles)
			_, took := other.awaitTerm(t)
			assert.InDelta(t, 11, took.Seconds(), 1)
			stalled.requireNotLeading(t, "its term never settled")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, &leaseAPI{}) })
		})
	}
}

func TestCollectorShowsWhoLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, &leaseAPI{}, "first", settles)
		c.term(t)
		assert.InDelta(t, 1, testutil.ToFloat64(leadership.NewCollector(c.Election)), 0)
		c.stop()
		assert.InDelta(t, 0, testutil.ToFloat64(leadership.NewCollector(c.Election)), 0)
	})
}
