package leaderelection_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"

	"github.com/spillway-k8s/spillway/internal/leaderelection"
)

func leader(client *fake.Clientset, identity string, leads chan<- bool) leaderelection.Leader {
	return leaderelection.Leader{
		Client: client, Namespace: "spillway-system", Name: "node", Identity: identity, Lease: 10 * time.Second,
		Leads: func(is bool) { leads <- is }, Logger: slog.New(slog.DiscardHandler),
	}
}

// holder is who holds the Lease.
func holder(t *testing.T, client *fake.Clientset) string {
	t.Helper()
	lease, err := client.CoordinationV1().Leases("spillway-system").Get(t.Context(), "node", metav1.GetOptions{})
	require.NoError(t, err)
	return ptr.Deref(lease.Spec.HolderIdentity, "")
}

func TestTheLeaseIsReleasedAfterTheTaskHasEnded(t *testing.T) {
	client, leads := fake.NewClientset(), make(chan bool, 2)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := leader(client, "one", leads).Run(ctx, func(leading context.Context, _ *leaderelection.Term) error {
		assert.True(t, <-leads)
		assert.Equal(t, "one", holder(t, client))
		cancel()
		<-leading.Done()
		assert.Equal(t, "one", holder(t, client), "the Lease is held until the task has returned")
		return nil
	})
	require.NoError(t, err)
	assert.False(t, <-leads)
	assert.Empty(t, holder(t, client))
}

func TestAnErrorOfTheTaskEndsTheElection(t *testing.T) {
	failed := errors.New("failed")
	err := leader(
		fake.NewClientset(),
		"one",
		make(chan bool, 2),
	).Run(
		t.Context(),
		func(context.Context, *leaderelection.Term) error { return failed },
	)
	require.ErrorIs(t, err, failed)
}

func TestAProcessWaitsWhileAnotherLeads(t *testing.T) {
	now := metav1.NowMicro()
	client := fake.NewClientset(&coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "spillway-system", Name: "node"},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: ptr.To("other"), LeaseDurationSeconds: ptr.To(int32(3600)),
			AcquireTime: &now, RenewTime: &now,
		},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := leader(client, "one", make(chan bool, 2)).Run(ctx, func(context.Context, *leaderelection.Term) error {
		assert.Fail(t, "the other process holds the Lease")
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, "other", holder(t, client))
}

func TestAProcessWithTheSameIdentityTakesItsLeaseBackAtOnce(t *testing.T) {
	now := metav1.NowMicro()
	client := fake.NewClientset(&coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "spillway-system", Name: "node"},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: ptr.To("one"), LeaseDurationSeconds: ptr.To(int32(3600)),
			AcquireTime: &now, RenewTime: &now,
		},
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	led := false
	err := leader(client, "one", make(chan bool, 2)).Run(ctx, func(context.Context, *leaderelection.Term) error {
		led = true
		cancel()
		return nil
	})
	require.NoError(t, err)
	assert.True(t, led)
}

func TestTheFlagNamesTheNamespaceOfTheLease(t *testing.T) {
	namespace := "default"
	flags := pflag.NewFlagSet("program", pflag.ContinueOnError)
	leaderelection.AddFlags(flags, &namespace)
	require.NoError(t, flags.Parse([]string{"--leader-election-namespace=elsewhere"}))
	assert.Equal(t, "elsewhere", namespace)
}
