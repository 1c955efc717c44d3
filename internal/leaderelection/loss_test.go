package leaderelection_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/spillway-k8s/spillway/internal/leaderelection"
)

// candidate is a process with a Lease of 10 s whose terms last 7 s without a renewal.
func candidate(client *fake.Clientset) leaderelection.Leader {
	return leaderelection.Leader{
		Client: client, Namespace: "spillway-system", Name: "node", Identity: "one", Lease: 10 * time.Second,
		Logger: slog.New(slog.DiscardHandler),
	}
}

func TestALeaderStopsAsSoonAsItSeesThatAnotherLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		var taken atomic.Bool // The API server refuses a write of an old version. The fake one would accept it.
		client.PrependReactor("update", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
			return taken.Load(), nil, errors.New("the Lease has changed")
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		lead := func(leading context.Context, term *leaderelection.Term) error {
			time.Sleep(time.Minute + 300*time.Millisecond)
			require.NoError(t, term.Err(), "the Lease is renewed")
			leases := client.CoordinationV1().Leases("spillway-system")
			lease, err := leases.Get(ctx, "node", metav1.GetOptions{})
			require.NoError(t, err)
			other := "other"
			lease.Spec.HolderIdentity = &other
			_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
			require.NoError(t, err)
			taken.Store(true)
			began := time.Now()
			<-leading.Done()
			assert.LessOrEqual(t, time.Since(began), 3*time.Second, "not only after its deadline")
			assert.ErrorIs(t, term.Err(), leaderelection.ErrTermOver)
			cancel()
			return errors.New("cut off in the middle")
		}
		require.NoError(t, candidate(client).Run(ctx, lead), "the error of a term that was cut off is none")
		assert.Equal(t, "other", holder(t, client), "the Lease of another is not released")
	})
}

// A process whose task ends slowly must not keep the Lease that it could not renew in time.
func TestATermThatIsOverIsNotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		var failing atomic.Bool
		var renewals atomic.Int64
		client.PrependReactor("update", "leases", func(action clienttesting.Action) (bool, runtime.Object, error) {
			if failing.Load() {
				return true, nil, errors.New("connection refused")
			}
			lease, ok := action.(clienttesting.UpdateAction).GetObject().(*coordinationv1.Lease)
			if ok && *lease.Spec.HolderIdentity != "" {
				renewals.Add(1)
			}
			return false, nil, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		require.NoError(t, candidate(client).Run(ctx, func(leading context.Context, term *leaderelection.Term) error {
			time.Sleep(5 * time.Second)
			failing.Store(true)
			began := time.Now()
			<-leading.Done()
			assert.Greater(t, time.Since(began), 5*time.Second)
			assert.LessOrEqual(t, time.Since(began), 7*time.Second, "before another may lead")
			failing.Store(false)
			before := renewals.Load()
			time.Sleep(30 * time.Second)
			assert.Equal(t, before, renewals.Load())
			assert.ErrorIs(t, term.Err(), leaderelection.ErrTermOver)
			assert.Empty(t, holder(t, client), "another may lead: nothing is sent any more")
			cancel()
			return nil
		}))
	})
}
