// Package integration tests the leadership of extenders on a real API server.
package integration

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/spillway-k8s/spillway/extender/leadership"
	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/test/system"
)

// trial is an API server without other components.
var trial *system.System

// timeout is how long a test waits for something that must happen.
const timeout = time.Minute

func TestMain(m *testing.M) {
	os.Exit(programtest.Main(m, system.Config{
		Shape: system.Shape{LocalCPU: "1", LocalMemory: "1Gi"},
		Without: []string{
			system.ControllerManager, system.Scheduler, system.KWOK, system.CCISim, system.Extender, system.Admission, "vnode",
		},
	}, func(_ context.Context, s *system.System) error {
		trial = s
		return nil
	}))
}

// candidate is an Election whose connection to the API server a test can block.
type candidate struct {
	*leadership.Election
	t       *testing.T
	blocked atomic.Bool
	led     chan struct{} // one for each term
	stop    context.CancelFunc
	done    chan error
}

// start starts a candidate in the election with a name. Its terms settle at once.
func start(t *testing.T, name, identity string) *candidate {
	t.Helper()
	return startWith(t, name, identity, func(context.Context) error { return nil })
}

func startWith(t *testing.T, name, identity string, settle func(context.Context) error) *candidate {
	t.Helper()
	c := &candidate{t: t, led: make(chan struct{}, 100), done: make(chan error, 1)}
	config := trial.RESTConfig()
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			if c.blocked.Load() {
				<-request.Context().Done()
				return nil, request.Context().Err()
			}
			return next.RoundTrip(request)
		})
	})
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	c.Election = leadership.NewElection(leadership.Config{
		Client: client, Namespace: metav1.NamespaceDefault, Name: name, Identity: identity,
		Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	callbacks := leadership.Callbacks{Settle: settle, StartedLeading: func() { c.led <- struct{}{} }}
	ctx, stop := context.WithCancel(t.Context())
	c.stop = stop
	go func() { c.done <- c.Run(ctx, callbacks) }()
	t.Cleanup(func() {
		c.blocked.Store(false)
		stop()
		assert.NoError(t, <-c.done)
		c.done <- nil
	})
	return c
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (c *candidate) awaitTerm() leadership.Term {
	c.t.Helper()
	select {
	case <-c.led:
	case <-time.After(timeout):
		require.FailNow(c.t, "it does not lead")
	}
	term, err := c.Term()
	require.NoError(c.t, err)
	return term
}

func (c *candidate) requireIdle(message string) {
	c.t.Helper()
	_, err := c.Term()
	require.ErrorIs(c.t, err, leadership.ErrNotLeading, message)
}

// changeLease changes the Lease like another client.
func changeLease(t *testing.T, name string, change func(*coordinationv1.Lease)) {
	t.Helper()
	leases := leases()
	require.Eventually(t, func() bool {
		lease, err := leases.Get(t.Context(), name, metav1.GetOptions{})
		require.NoError(t, err)
		change(lease)
		_, err = leases.Update(t.Context(), lease, metav1.UpdateOptions{})
		require.True(t, err == nil || apierrors.IsConflict(err), "updating the lease: %v", err)
		return err == nil
	}, timeout, time.Millisecond)
}

func leases() coordinationclient.LeaseInterface {
	return trial.Client().CoordinationV1().Leases(metav1.NamespaceDefault)
}

func holder(t *testing.T, name string) string {
	t.Helper()
	lease, err := leases().Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	require.NotNil(t, lease.Spec.HolderIdentity)
	return *lease.Spec.HolderIdentity
}

func steal(by string) func(*coordinationv1.Lease) {
	return func(lease *coordinationv1.Lease) {
		*lease.Spec.HolderIdentity = by
		*lease.Spec.LeaseTransitions++
		*lease.Spec.LeaseDurationSeconds = 2
	}
}

// nameOf is the name of the Lease of a test.
func nameOf(test string) string {
	return strings.ToLower(strings.NewReplacer(" ", "-", ",", "").Replace(test))
}

func TestElection(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, lease string){
		"one of two leads, and the other takes over when it stops": func(t *testing.T, lease string) {
			first := start(t, lease, "first")
			term := first.awaitTerm()
			second := start(t, lease, "second")
			require.NoError(t, first.VerifyTerm(t.Context(), term))
			second.requireIdle("the first one leads")
			first.stop()
			require.NoError(t, <-first.done)
			first.done <- nil
			first.requireIdle("it has stopped")
			next := second.awaitTerm()
			assert.NotEqual(t, term, next)
			require.ErrorIs(t, first.VerifyTerm(t.Context(), term), leadership.ErrNotLeading)
			require.NoError(t, second.VerifyTerm(t.Context(), next))
		},
		"a leader without a connection stops leading before the other leads": func(t *testing.T, lease string) {
			first := start(t, lease, "first")
			first.awaitTerm()
			second := start(t, lease, "second")
			first.blocked.Store(true)
			second.awaitTerm()
			first.requireIdle("the other leads")
			first.blocked.Store(false)
			first.requireIdle("the other still leads")
			assert.Equal(t, "second", holder(t, lease))
		},
		"a leader that lost its Lease fails to verify its term and stops leading": func(t *testing.T, lease string) {
			first := start(t, lease, "first")
			term := first.awaitTerm()
			changeLease(t, lease, steal("other"))
			require.ErrorIs(t, first.VerifyTerm(t.Context(), term), leadership.ErrNotLeading)
			first.requireIdle("it has seen that it lost the Lease")
			next := first.awaitTerm() // The other holder does not renew the Lease.
			assert.NotEqual(t, term, next)
			require.ErrorIs(t, first.VerifyTerm(t.Context(), term), leadership.ErrNotLeading, "the old term does not come back")
			require.NoError(t, first.VerifyTerm(t.Context(), next), "verifying the old term has not ended the new one")
		},
		"a leader that lost its Lease does not release it when it stops": func(t *testing.T, lease string) {
			first := start(t, lease, "first")
			first.awaitTerm()
			changeLease(t, lease, steal("other"))
			first.stop()
			require.NoError(t, <-first.done)
			first.done <- nil
			assert.Equal(t, "other", holder(t, lease))
		},
		"a new term begins after the Lease is deleted": func(t *testing.T, lease string) {
			first := start(t, lease, "first")
			term := first.awaitTerm()
			require.NoError(t, leases().Delete(t.Context(), lease, metav1.DeleteOptions{}))
			require.Eventually(t, func() bool {
				err := first.VerifyTerm(t.Context(), term)
				require.True(t, errors.Is(err, leadership.ErrNotLeading) || apierrors.IsNotFound(err), "%v", err)
				return errors.Is(err, leadership.ErrNotLeading)
			}, timeout, 10*time.Millisecond)
			assert.NotEqual(t, term, first.awaitTerm())
		},
		"a term is neither verified nor ended while the API server does not answer": func(t *testing.T, lease string) {
			first := start(t, lease, "first")
			term := first.awaitTerm()
			first.blocked.Store(true)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			require.ErrorContains(t, first.VerifyTerm(ctx, term), "reading lease default/"+lease)
			first.blocked.Store(false)
			require.NoError(t, first.VerifyTerm(t.Context(), term))
		},
		"an extender leads once its term has settled": func(t *testing.T, lease string) {
			settled := make(chan error)
			first := startWith(t, lease, "first", func(ctx context.Context) error {
				select {
				case err := <-settled:
					return err
				case <-ctx.Done():
					return ctx.Err()
				}
			})
			settled <- errors.New("the watch has stalled")
			first.requireIdle("settling is retried")
			settled <- nil
			first.awaitTerm()
		},
		"a leader whose term does not settle releases the Lease": func(t *testing.T, lease string) {
			stalled := startWith(t, lease, "stalled", func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			})
			require.Eventually(t, func() bool {
				_, err := leases().Get(t.Context(), lease, metav1.GetOptions{})
				return err == nil
			}, timeout, time.Millisecond)
			start(t, lease, "other").awaitTerm()
			stalled.requireIdle("its term never settled")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, nameOf(name))
		})
	}
}
