package leadership_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/extender/leadership"
)

// sidecar is the leadership for a scheduler on the host "one".
type sidecar struct {
	*leadership.Scheduler
	blocked atomic.Bool
	// settled counts how often a term has settled. settleErr is the result.
	settled   int
	settleErr error
	now       time.Time
}

func newSidecar(api *leaseAPI) *sidecar {
	s := &sidecar{now: time.Unix(0, 0)}
	lease := leadership.SchedulerLease{Namespace: "default", Name: "kube-scheduler"}
	s.Scheduler = leadership.NewScheduler(api.client(&s.blocked), lease, "one", func() time.Time { return s.now })
	return s
}

// run starts a leadership. It stops at the end of the test.
func run(t *testing.T, scheduler *leadership.Scheduler, settle func(context.Context) error) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	started, ended := make(chan struct{}), make(chan error)
	go func() {
		ended <- scheduler.Run(ctx, leadership.Callbacks{Settle: settle, StartedLeading: func() { close(started) }})
	}()
	<-started
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-ended)
	})
}

// answer does what an answer that gives a slot does. meanwhile runs before the term is verified.
func (s *sidecar) answer(t *testing.T, meanwhile ...func()) error {
	t.Helper()
	term, err := s.CurrentTerm(t.Context())
	if err != nil {
		return err
	}
	for _, run := range meanwhile {
		run()
	}
	return s.VerifyTerm(t.Context(), term)
}

func heldBy(identity string) *leaseAPI {
	return &leaseAPI{lease: &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-scheduler", UID: "uid"},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &identity, LeaseTransitions: new(int32(0))},
	}}
}

func TestScheduler(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, api *leaseAPI, s *sidecar){
		"a term settles once, before the first answer": func(t *testing.T, _ *leaseAPI, s *sidecar) {
			require.NoError(t, s.Ready())
			assert.Zero(t, s.settled)
			for range 3 {
				require.NoError(t, s.answer(t))
				s.now = s.now.Add(time.Minute)
			}
			assert.Equal(t, 1, s.settled)
		},
		"there is no answer while another scheduler leads": func(t *testing.T, api *leaseAPI, s *sidecar) {
			api.acquire("another_a")
			require.ErrorIs(t, s.answer(t), leadership.ErrOtherScheduler)
			assert.Zero(t, s.settled)
		},
		"a host name with the same prefix is another host": func(t *testing.T, api *leaseAPI, s *sidecar) {
			api.acquire("one-more_a")
			require.ErrorIs(t, s.answer(t), leadership.ErrOtherScheduler)
		},
		"no slot is given after another scheduler has taken over": func(t *testing.T, api *leaseAPI, s *sidecar) {
			require.NoError(t, s.answer(t))
			api.acquire("another_b")
			_, err := s.CurrentTerm(t.Context())
			require.NoError(t, err, "a read of the Lease counts as current for a second")
			require.ErrorIs(t, s.answer(t), leadership.ErrOtherScheduler, "verifying the term reads the Lease")
			s.now = s.now.Add(time.Second)
			_, err = s.CurrentTerm(t.Context())
			require.ErrorIs(t, err, leadership.ErrOtherScheduler)
		},
		"a scheduler that leads again has a new term": func(t *testing.T, api *leaseAPI, s *sidecar) {
			require.NoError(t, s.answer(t))
			err := s.answer(t, func() {
				api.acquire("another_b")
				api.acquire("one_c")
			})
			require.ErrorIs(t, err, leadership.ErrNewTerm, "a decision of the earlier term must be made again")
			assert.Equal(t, 2, s.settled)
			require.NoError(t, s.answer(t))
			assert.Equal(t, 2, s.settled)
		},
		"there is no answer in a term that does not settle": func(t *testing.T, _ *leaseAPI, s *sidecar) {
			s.settleErr = errors.New("the watch has stalled")
			require.EqualError(t, s.answer(t), "reading the slots of earlier terms: the watch has stalled")
			s.settleErr = nil
			require.NoError(t, s.answer(t))
		},
		"a new term that does not settle is not verified": func(t *testing.T, api *leaseAPI, s *sidecar) {
			err := s.answer(t, func() {
				api.acquire("one_b")
				s.settleErr = errors.New("the watch has stalled")
			})
			require.EqualError(t, err, "reading the slots of earlier terms: the watch has stalled")
		},
		"without the API server there are answers, but no slots": func(t *testing.T, _ *leaseAPI, s *sidecar) {
			require.NoError(t, s.answer(t))
			s.now = s.now.Add(time.Minute)
			s.blocked.Store(true)
			term, err := s.CurrentTerm(t.Context())
			require.NoError(t, err)
			require.ErrorContains(t, s.VerifyTerm(t.Context(), term), "connection refused")
		},
		"the error contains the name of a missing Lease": func(t *testing.T, api *leaseAPI, s *sidecar) {
			api.remove()
			require.ErrorContains(t, s.answer(t), "reading lease default/kube-scheduler of the scheduler")
		},
	} {
		t.Run(name, func(t *testing.T) {
			api := heldBy("one_a")
			s := newSidecar(api)
			run(t, s.Scheduler, func(context.Context) error {
				s.settled++
				return s.settleErr
			})
			test(t, api, s)
		})
	}
}

func TestThereIsNoAnswerBeforeRun(t *testing.T) {
	s := newSidecar(heldBy("one_a"))
	require.ErrorContains(t, s.Ready(), "the extender is starting")
	_, err := s.CurrentTerm(t.Context())
	require.ErrorContains(t, err, "the extender is starting")
}

// TestATermThatSettlesSlowly tests that the scheduler, which handles one Pod at a time, waits once.
func TestATermThatSettlesSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settled := 0
		single := leadership.NewSingleScheduler(time.Now)
		run(t, single, func(context.Context) error {
			settled++
			time.Sleep(3 * time.Second)
			return nil
		})
		begin := time.Now()
		for range 10 {
			_, err := single.CurrentTerm(t.Context())
			require.EqualError(t, err, "reading the slots of earlier terms: the API server is slow; "+
				"the call continues in the background")
		}
		assert.Equal(t, 500*time.Millisecond, time.Since(begin), "only the first call waits")
		time.Sleep(3 * time.Second)
		term, err := single.CurrentTerm(t.Context())
		require.NoError(t, err)
		require.NoError(t, single.VerifyTerm(t.Context(), term))
		assert.Equal(t, 1, settled, "settling continued in the background")
		assert.Equal(t, 3500*time.Millisecond, time.Since(begin))
	})
}
