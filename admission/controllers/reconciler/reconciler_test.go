package reconciler

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
)

var web = cache.NewObjectName("shop", "web")

// config returns a Config with a backlog and no events.
func config(t *testing.T, backlog ...cache.ObjectName) Config {
	t.Helper()
	failures, err := NewFailures(prometheus.NewRegistry())
	require.NoError(t, err)
	return Config{
		Name: "test", Workers: 2, Resync: time.Hour, Trigger: NewTrigger(), Failures: failures,
		Logger:    slog.New(slog.DiscardHandler),
		Backlog:   func() []cache.ObjectName { return backlog },
		Reconcile: Once(func(context.Context, cache.ObjectName) error { return nil }),
		Watch: func(func(cache.ObjectName)) (func() error, error) {
			return func() error { return nil }, nil
		},
	}
}

// start runs the controller. stop ends it and returns its error.
func start(t *testing.T, c Config) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, c) }()
	return func() error {
		cancel()
		return <-ended
	}
}

func TestAFailedReconciliationIsRetriedUntilItSucceeds(t *testing.T) {
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, "web", errors.New("changed"))
	results := make(chan error, 3)
	results <- errors.New("connection refused")
	results <- conflict
	results <- nil
	reconciled := make(chan cache.ObjectName)
	c := config(t, web)
	c.Reconcile = Once(func(_ context.Context, name cache.ObjectName) error {
		reconciled <- name
		return <-results
	})
	stop := start(t, c)
	for range 3 {
		assert.Equal(t, "shop/web", (<-reconciled).String())
	}
	require.NoError(t, stop())
	assert.InDelta(t, 1, testutil.ToFloat64(c.Failures.WithLabelValues("test")), 0, "a conflict is no failure")
}

func TestATriggerReconcilesTheBacklog(t *testing.T) {
	listed := make(chan struct{})
	c := config(t)
	c.Backlog = func() []cache.ObjectName { listed <- struct{}{}; return nil }
	c.Trigger.Fire() // Fire does not block, even if nothing runs and a request is pending.
	c.Trigger.Fire()
	for range 2 { // Run may be called again afterwards.
		stop := start(t, c)
		<-listed
		c.Trigger.Fire()
		<-listed
		ended := make(chan error, 1)
		go func() { ended <- stop() }()
		for done := false; !done; {
			select {
			case <-listed:
			case err := <-ended:
				require.NoError(t, err)
				done = true
			}
		}
	}
}

func TestTheBacklogIsReconciledAtEveryResync(t *testing.T) {
	reconciled := make(chan cache.ObjectName)
	c := config(t, web)
	c.Resync = time.Millisecond
	c.Reconcile = Once(func(ctx context.Context, name cache.ObjectName) error {
		select {
		case reconciled <- name:
		case <-ctx.Done():
		}
		return nil
	})
	stop := start(t, c)
	for range 3 {
		assert.Equal(t, web, <-reconciled)
	}
	require.NoError(t, stop())
}

func TestPodsOfEventsAreReconciledUntilTheEnd(t *testing.T) {
	var add func(cache.ObjectName)
	watching, stopped := make(chan struct{}), false
	reconciled := make(chan cache.ObjectName)
	c := config(t)
	c.Reconcile = Once(func(_ context.Context, name cache.ObjectName) error { reconciled <- name; return nil })
	c.Watch = func(f func(cache.ObjectName)) (func() error, error) {
		add = f
		close(watching)
		return func() error { stopped = true; return nil }, nil
	}
	stop := start(t, c)
	<-watching
	add(web)
	assert.Equal(t, web, <-reconciled)
	require.NoError(t, stop())
	assert.True(t, stopped, "the watch has ended")
	add(web) // A late event does no harm.
}

func TestRunFailsIfTheWatchFails(t *testing.T) {
	c := config(t)
	c.Watch = func(func(cache.ObjectName)) (func() error, error) { return nil, errors.New("no watch") }
	assert.EqualError(t, Run(t.Context(), c), "starting controller test: no watch")
}

func TestFailuresAreRegisteredOnce(t *testing.T) {
	registry := prometheus.NewRegistry()
	_, err := NewFailures(registry)
	require.NoError(t, err)
	_, err = NewFailures(registry)
	assert.ErrorContains(t, err, "registering the metrics of the controllers")
}

func TestAPodIsReconciledAgainAfterTheTimeThatItAsksFor(t *testing.T) {
	calls := make(chan time.Time, 2)
	c := config(t, web)
	c.Reconcile = func(context.Context, cache.ObjectName) (time.Duration, error) {
		select {
		case calls <- time.Now():
		default:
			return 0, nil
		}
		return 50 * time.Millisecond, nil
	}
	stop := start(t, c)
	first, second := <-calls, <-calls
	require.NoError(t, stop())
	assert.GreaterOrEqual(t, second.Sub(first), 50*time.Millisecond)
}
