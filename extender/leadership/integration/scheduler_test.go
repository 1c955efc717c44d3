package integration

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/extender/leadership"
)

// createLease creates the Lease of a kube-scheduler with an identity.
func createLease(t *testing.T, lease, identity string) {
	t.Helper()
	object := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: lease}, Spec: coordinationv1.LeaseSpec{
		HolderIdentity: &identity, LeaseTransitions: new(int32(0)), LeaseDurationSeconds: new(int32(15)),
	}}
	_, err := leases().Create(t.Context(), object, metav1.CreateOptions{})
	require.NoError(t, err)
}

// sidecar is the leadership for a scheduler on the host "one". It counts how often a term has settled.
type sidecar struct {
	*leadership.Scheduler
	settled int
	err     error
	now     time.Time
}

func startSidecar(t *testing.T, lease string) *sidecar {
	t.Helper()
	s := &sidecar{now: time.Now()}
	name := leadership.SchedulerLease{Namespace: metav1.NamespaceDefault, Name: lease}
	s.Scheduler = leadership.NewScheduler(trial.Client(), name, "one", func() time.Time { return s.now })
	settle := func(context.Context) error {
		s.settled++
		return s.err
	}
	started := make(chan struct{})
	go func() {
		_ = s.Run(t.Context(), leadership.Callbacks{Settle: settle, StartedLeading: func() { close(started) }})
	}()
	<-started
	return s
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

func TestScheduler(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, lease string){
		"a term settles once, before the first answer": func(t *testing.T, lease string) {
			createLease(t, lease, "one_a")
			s := startSidecar(t, lease)
			for range 3 {
				require.NoError(t, s.answer(t))
				s.now = s.now.Add(time.Minute)
			}
			assert.Equal(t, 1, s.settled)
		},
		"there is no answer while another scheduler leads": func(t *testing.T, lease string) {
			createLease(t, lease, "another_a")
			s := startSidecar(t, lease)
			require.ErrorIs(t, s.answer(t), leadership.ErrOtherScheduler)
			assert.Zero(t, s.settled)
		},
		"a host name with the same prefix is another host": func(t *testing.T, lease string) {
			createLease(t, lease, "one-more_a")
			require.ErrorIs(t, startSidecar(t, lease).answer(t), leadership.ErrOtherScheduler)
		},
		"no slot is given after another scheduler has taken over": func(t *testing.T, lease string) {
			createLease(t, lease, "one_a")
			s := startSidecar(t, lease)
			require.NoError(t, s.answer(t))
			changeLease(t, lease, steal("another_b"))
			_, err := s.CurrentTerm(t.Context())
			require.NoError(t, err, "a read of the Lease counts as current for a second")
			require.ErrorIs(t, s.answer(t), leadership.ErrOtherScheduler, "verifying the term reads the Lease")
			s.now = s.now.Add(time.Second)
			_, err = s.CurrentTerm(t.Context())
			require.ErrorIs(t, err, leadership.ErrOtherScheduler)
		},
		"a scheduler that leads again has a new term": func(t *testing.T, lease string) {
			createLease(t, lease, "one_a")
			s := startSidecar(t, lease)
			require.NoError(t, s.answer(t))
			err := s.answer(t, func() {
				changeLease(t, lease, steal("another_b"))
				changeLease(t, lease, steal("one_c"))
			})
			require.ErrorIs(t, err, leadership.ErrNewTerm, "a decision of the earlier term must be made again")
			assert.Equal(t, 2, s.settled)
			require.NoError(t, s.answer(t))
			assert.Equal(t, 2, s.settled)
		},
		"there is no answer in a term that does not settle": func(t *testing.T, lease string) {
			createLease(t, lease, "one_a")
			s := startSidecar(t, lease)
			s.err = errors.New("the watch has stalled")
			require.EqualError(t, s.answer(t), "reading the slots of earlier terms: the watch has stalled")
			s.err = nil
			require.NoError(t, s.answer(t))
		},
		"without the Lease there are answers, but no slots": func(t *testing.T, lease string) {
			createLease(t, lease, "one_a")
			s := startSidecar(t, lease)
			require.NoError(t, s.answer(t))
			s.now = s.now.Add(time.Minute)
			require.NoError(t, leases().Delete(t.Context(), lease, metav1.DeleteOptions{}))
			term, err := s.CurrentTerm(t.Context())
			require.NoError(t, err)
			require.ErrorContains(t, s.VerifyTerm(t.Context(), term), "reading lease")
		},
		"the error contains the name of a missing Lease": func(t *testing.T, lease string) {
			require.ErrorContains(t, startSidecar(t, lease).answer(t), "reading lease default/"+lease+" of the scheduler")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, "scheduler-"+nameOf(name))
		})
	}
}
