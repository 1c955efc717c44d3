package leader_test

import (
	"context"
	"errors"
	"fmt"
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

	"github.com/spillway-k8s/spillway/extender/leader"
	"github.com/spillway-k8s/spillway/test/system"
)

// trial is an API server with nothing beside it.
var trial *system.System

// patience is how long a test waits for what must come.
const patience = time.Minute

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) (code int) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "leader")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin, err := system.FindBinDir()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	trial, err = system.Start(ctx, system.Config{
		Dir: dir, BinDir: bin, DieWithParent: true, Shape: system.Shape{LocalCPU: "1", LocalMemory: "1Gi"},
		Without: []string{system.ControllerManager, system.Scheduler, system.KWOK, system.CCISim, system.Extender, system.Admission, "vnode"},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := trial.Stop(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	return m.Run()
}

// candidate is an Election whose way to the API server a test can cut.
type candidate struct {
	*leader.Election
	t    *testing.T
	cut  atomic.Bool
	led  chan struct{} // one for each term
	stop context.CancelFunc
	done chan error
}

// stand lets a candidate take part in the election of a name, whose caches settle at once.
func stand(t *testing.T, name, identity string) *candidate {
	t.Helper()
	return standWith(t, name, identity, func(context.Context) error { return nil })
}

func standWith(t *testing.T, name, identity string, settle func(context.Context) error) *candidate {
	t.Helper()
	c := &candidate{t: t, led: make(chan struct{}, 100), done: make(chan error, 1)}
	config := trial.RESTConfig()
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			if c.cut.Load() {
				<-request.Context().Done()
				return nil, request.Context().Err()
			}
			return next.RoundTrip(request)
		})
	})
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	c.Election = leader.New(leader.Config{
		Client: client, Namespace: metav1.NamespaceDefault, Name: name, Identity: identity,
		Settle: settle,
		Lead:   func() { c.led <- struct{}{} },
		Now:    time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	ctx, stop := context.WithCancel(t.Context())
	c.stop = stop
	go func() { c.done <- c.Run(ctx) }()
	t.Cleanup(func() {
		c.cut.Store(false)
		stop()
		assert.NoError(t, <-c.done)
		c.done <- nil
	})
	return c
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (c *candidate) awaitTerm() leader.Term {
	c.t.Helper()
	select {
	case <-c.led:
	case <-time.After(patience):
		require.FailNow(c.t, "it does not lead")
	}
	term, err := c.Term()
	require.NoError(c.t, err)
	return term
}

func (c *candidate) requireIdle(message string) {
	c.t.Helper()
	_, err := c.Term()
	require.ErrorIs(c.t, err, leader.ErrNotLeading, message)
}

// lease changes the Lease as somebody else would.
func changeLease(t *testing.T, name string, change func(*coordinationv1.Lease)) {
	t.Helper()
	leases := trial.Client().CoordinationV1().Leases(metav1.NamespaceDefault)
	require.Eventually(t, func() bool {
		lease, err := leases.Get(t.Context(), name, metav1.GetOptions{})
		require.NoError(t, err)
		change(lease)
		_, err = leases.Update(t.Context(), lease, metav1.UpdateOptions{})
		require.True(t, err == nil || apierrors.IsConflict(err), "updating the lease: %v", err)
		return err == nil
	}, patience, time.Millisecond)
}

func holder(t *testing.T, name string) string {
	t.Helper()
	lease, err := trial.Client().CoordinationV1().Leases(metav1.NamespaceDefault).Get(t.Context(), name, metav1.GetOptions{})
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
	for name, play := range map[string]func(t *testing.T, lease string){
		"one of two leads, and the other takes over when it goes": func(t *testing.T, lease string) {
			first := stand(t, lease, "first")
			term := first.awaitTerm()
			second := stand(t, lease, "second")
			require.NoError(t, first.Confirm(t.Context(), term))
			second.requireIdle("one leads")
			first.stop()
			require.NoError(t, <-first.done)
			first.done <- nil
			first.requireIdle("it went")
			next := second.awaitTerm()
			assert.NotEqual(t, term, next)
			require.ErrorIs(t, first.Confirm(t.Context(), term), leader.ErrNotLeading)
			require.NoError(t, second.Confirm(t.Context(), next))
		},
		"a leader that is cut off closes its door before the other leads": func(t *testing.T, lease string) {
			first := stand(t, lease, "first")
			first.awaitTerm()
			second := stand(t, lease, "second")
			first.cut.Store(true)
			second.awaitTerm()
			first.requireIdle("the other leads")
			first.cut.Store(false)
			first.requireIdle("and goes on to")
			assert.Equal(t, "second", holder(t, lease))
		},
		"a leader whose Lease was taken does not confirm, and its door closes": func(t *testing.T, lease string) {
			first := stand(t, lease, "first")
			term := first.awaitTerm()
			changeLease(t, lease, steal("thief"))
			require.ErrorIs(t, first.Confirm(t.Context(), term), leader.ErrNotLeading)
			first.requireIdle("it has seen that")
			next := first.awaitTerm() // The thief does not renew.
			assert.NotEqual(t, term, next)
			require.ErrorIs(t, first.Confirm(t.Context(), term), leader.ErrNotLeading, "the old term never comes again")
			require.NoError(t, first.Confirm(t.Context(), next), "and that did not end the new one")
		},
		"a leader whose Lease was taken does not give it back when it goes": func(t *testing.T, lease string) {
			first := stand(t, lease, "first")
			first.awaitTerm()
			changeLease(t, lease, steal("thief"))
			first.stop()
			require.NoError(t, <-first.done)
			first.done <- nil
			assert.Equal(t, "thief", holder(t, lease))
		},
		"a Lease that was deleted begins another term": func(t *testing.T, lease string) {
			first := stand(t, lease, "first")
			term := first.awaitTerm()
			require.NoError(t, trial.Client().CoordinationV1().Leases(metav1.NamespaceDefault).Delete(t.Context(), lease, metav1.DeleteOptions{}))
			require.Eventually(t, func() bool {
				err := first.Confirm(t.Context(), term)
				require.True(t, errors.Is(err, leader.ErrNotLeading) || apierrors.IsNotFound(err), "%v", err)
				return errors.Is(err, leader.ErrNotLeading)
			}, patience, 10*time.Millisecond)
			assert.NotEqual(t, term, first.awaitTerm())
		},
		"an API server that does not answer confirms nothing, and ends nothing": func(t *testing.T, lease string) {
			first := stand(t, lease, "first")
			term := first.awaitTerm()
			first.cut.Store(true)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			require.ErrorContains(t, first.Confirm(ctx, term), "reading lease default/"+lease)
			first.cut.Store(false)
			require.NoError(t, first.Confirm(t.Context(), term))
		},
		"the door opens when the caches have settled": func(t *testing.T, lease string) {
			settled := make(chan error)
			first := standWith(t, lease, "first", func(ctx context.Context) error {
				select {
				case err := <-settled:
					return err
				case <-ctx.Done():
					return ctx.Err()
				}
			})
			settled <- errors.New("the watch stands still")
			first.requireIdle("it is tried again")
			settled <- nil
			first.awaitTerm()
		},
		"a leader whose caches do not settle leaves it to the other": func(t *testing.T, lease string) {
			stuck := standWith(t, lease, "stuck", func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			})
			require.Eventually(t, func() bool {
				_, err := trial.Client().CoordinationV1().Leases(metav1.NamespaceDefault).Get(t.Context(), lease, metav1.GetOptions{})
				return err == nil
			}, patience, time.Millisecond)
			stand(t, lease, "other").awaitTerm()
			stuck.requireIdle("it never settled")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, nameOf(name))
		})
	}
}
