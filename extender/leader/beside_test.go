package leader_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/extender/leader"
)

// scheduler has the Lease of a name held as kube-scheduler holds it.
func scheduler(t *testing.T, lease, identity string) {
	t.Helper()
	made := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: lease}, Spec: coordinationv1.LeaseSpec{
		HolderIdentity: &identity, LeaseTransitions: new(int32(0)), LeaseDurationSeconds: new(int32(15)),
	}}
	_, err := trial.Client().CoordinationV1().Leases(metav1.NamespaceDefault).Create(t.Context(), made, metav1.CreateOptions{})
	require.NoError(t, err)
}

// neighbour is the leadership beside a scheduler on the host "one", and how often it has settled.
type neighbour struct {
	*leader.Beside
	settled int
	err     error
	now     time.Time
}

func beside(lease string) *neighbour {
	n := &neighbour{now: time.Now()}
	n.Beside = leader.NewBeside(trial.Client(), leader.SchedulerLease{Namespace: metav1.NamespaceDefault, Name: lease}, "one", func(context.Context) error {
		n.settled++
		return n.err
	}, func() time.Time { return n.now })
	return n
}

// answer goes the way of an answer that gives a slot away. Whatever happens meanwhile does so before the slot is confirmed.
func (n *neighbour) answer(t *testing.T, meanwhile ...func()) error {
	t.Helper()
	term, err := n.Enter(t.Context())
	if err != nil {
		return err
	}
	for _, happens := range meanwhile {
		happens()
	}
	return n.Confirm(t.Context(), term)
}

func TestBeside(t *testing.T) {
	for name, play := range map[string]func(t *testing.T, lease string){
		"a term settles once, before anything is answered": func(t *testing.T, lease string) {
			scheduler(t, lease, "one_a")
			n := beside(lease)
			for range 3 {
				require.NoError(t, n.answer(t))
				n.now = n.now.Add(time.Minute)
			}
			assert.Equal(t, 1, n.settled)
		},
		"while another scheduler leads there is no answer": func(t *testing.T, lease string) {
			scheduler(t, lease, "another_a")
			n := beside(lease)
			require.ErrorIs(t, n.answer(t), leader.ErrOtherScheduler)
			assert.Zero(t, n.settled)
		},
		"a host whose name begins like it is another": func(t *testing.T, lease string) {
			scheduler(t, lease, "one-more_a")
			require.ErrorIs(t, beside(lease).answer(t), leader.ErrOtherScheduler)
		},
		"another scheduler has taken over a moment ago": func(t *testing.T, lease string) {
			scheduler(t, lease, "one_a")
			n := beside(lease)
			require.NoError(t, n.answer(t))
			changeLease(t, lease, steal("another_b"))
			_, err := n.Enter(t.Context())
			require.NoError(t, err, "a reading is trusted for a second")
			require.ErrorIs(t, n.answer(t), leader.ErrOtherScheduler, "but no slot is given")
			n.now = n.now.Add(time.Second)
			_, err = n.Enter(t.Context())
			require.ErrorIs(t, err, leader.ErrOtherScheduler)
		},
		"a scheduler that comes back has another term": func(t *testing.T, lease string) {
			scheduler(t, lease, "one_a")
			n := beside(lease)
			require.NoError(t, n.answer(t))
			err := n.answer(t, func() {
				changeLease(t, lease, steal("another_b"))
				changeLease(t, lease, steal("one_c"))
			})
			require.ErrorIs(t, err, leader.ErrNewTerm, "what was decided in the one before is decided again")
			assert.Equal(t, 2, n.settled)
			require.NoError(t, n.answer(t))
			assert.Equal(t, 2, n.settled)
		},
		"a term that does not settle is no term": func(t *testing.T, lease string) {
			scheduler(t, lease, "one_a")
			n := beside(lease)
			n.err = errors.New("the watch stands still")
			require.EqualError(t, n.answer(t), "reading what was decided before: the watch stands still")
			n.err = nil
			require.NoError(t, n.answer(t))
		},
		"an API server that does not answer gives no slot, and the cloud needs none": func(t *testing.T, lease string) {
			scheduler(t, lease, "one_a")
			n := beside(lease)
			require.NoError(t, n.answer(t))
			n.now = n.now.Add(time.Minute)
			require.NoError(t, trial.Client().CoordinationV1().Leases(metav1.NamespaceDefault).Delete(t.Context(), lease, metav1.DeleteOptions{}))
			term, err := n.Enter(t.Context())
			require.NoError(t, err)
			require.ErrorContains(t, n.Confirm(t.Context(), term), "reading the lease")
		},
		"a Lease that is not there is named": func(t *testing.T, lease string) {
			require.ErrorContains(t, beside(lease).answer(t), "reading the lease default/"+lease+" of the scheduler")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, "beside-"+nameOf(name))
		})
	}
}

// TestATermThatSettlesSlowly: the scheduler asks about one Pod after another, and all wait for each answer.
func TestATermThatSettlesSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settled := 0
		alone := leader.NewAlone(func(context.Context) error {
			settled++
			time.Sleep(3 * time.Second)
			return nil
		}, time.Now)
		began := time.Now()
		for range 10 {
			_, err := alone.Enter(t.Context())
			require.EqualError(t, err, "reading what was decided before: the API server is slow; it is gone on with meanwhile")
		}
		assert.Equal(t, 500*time.Millisecond, time.Since(began), "it is waited for in vain once")
		time.Sleep(3 * time.Second)
		term, err := alone.Enter(t.Context())
		require.NoError(t, err)
		require.NoError(t, alone.Confirm(t.Context(), term))
		assert.Equal(t, 1, settled, "it went on meanwhile")
		assert.Equal(t, 3500*time.Millisecond, time.Since(began))
	})
}
