package ledger_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/spillway-k8s/spillway/extender/ledger"
)

func TestRunFollowsThePodsOfTheCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listed := newCluster(t).pod("listed", bound("local-0"))
		created := newCluster(t).pod("created", bound("local-0"))
		client := fake.NewClientset(listed)
		l := ledger.New(virtualNodes{}, newCluster(t), func(ledger.PodRef) {})
		assert.False(t, l.Synced())
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			l.Run(ctx, client, slog.New(slog.DiscardHandler))
		}()
		synctest.Wait()
		assert.True(t, l.Synced())
		assert.Equal(t, 1, l.Load("local-0"))
		pods := client.CoreV1().Pods("default")
		_, err := pods.Create(t.Context(), created, metav1.CreateOptions{})
		require.NoError(t, err)
		synctest.Wait()
		assert.Equal(t, 2, l.Load("local-0"))
		require.NoError(t, pods.Delete(t.Context(), "listed", metav1.DeleteOptions{}))
		synctest.Wait()
		assert.Equal(t, 1, l.Load("local-0"))
		stop()
		<-ended
	})
}

func TestRunRequeueRequeuesWaitingPodsAtEveryInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.pod("a", bound("local-0"))
		c.pod("b")
		c.reserve("b", onlyLocal...)
		c.delete("a")
		assert.Equal(t, []string{"b"}, c.requeued)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c.RunRequeue(ctx, 30*time.Second)
		}()
		time.Sleep(61 * time.Second)
		synctest.Wait()
		assert.Equal(t, []string{"b", "b", "b"}, c.requeued)
		stop()
		<-ended
	})
}

func TestCollectorExportsTheNumbersOfTheLedger(t *testing.T) {
	c := newCluster(t)
	c.pod("a")
	c.pod("b")
	c.pod("d")
	assert.Equal(t, ledger.Local, c.reserve("a"))
	assert.Equal(t, ledger.Wait, c.reserve("b", onlyLocal...))
	c.Park("uid-d")
	want := `
# HELP spillway_ledger_local_missing_pods Number of Pods that shares would keep on local nodes and that have no ` +
		`slot: they wait, or are in the cloud. By workload as cloud_pods.
# TYPE spillway_ledger_local_missing_pods gauge
spillway_ledger_local_missing_pods{kind="ReplicaSet",namespace="default",workload="web"} 0
# HELP spillway_ledger_local_used_pods Number of local slots that Pods with shares have, by workload as cloud_pods.
# TYPE spillway_ledger_local_used_pods gauge
spillway_ledger_local_used_pods{kind="ReplicaSet",namespace="default",workload="web"} 1
# HELP spillway_ledger_local_wanted_pods Number of Pods that shares keep on local nodes: the most that may be there, ` +
		`or else the least that must be, or all Pods of a revision if it has fewer. By workload as cloud_pods.
# TYPE spillway_ledger_local_wanted_pods gauge
spillway_ledger_local_wanted_pods{kind="ReplicaSet",namespace="default",workload="web"} 1
# HELP spillway_ledger_parked_pods Number of Pods that policy refused and that wait for a change of the switch.
# TYPE spillway_ledger_parked_pods gauge
spillway_ledger_parked_pods 1
# HELP spillway_ledger_pods Number of Pods in the ledger.
# TYPE spillway_ledger_pods gauge
spillway_ledger_pods 3
# HELP spillway_ledger_reservations Number of slots reserved for Pods whose binding has not been seen yet.
# TYPE spillway_ledger_reservations gauge
spillway_ledger_reservations 1
# HELP spillway_ledger_revisions Number of revisions with shares.
# TYPE spillway_ledger_revisions gauge
spillway_ledger_revisions 1
# HELP spillway_ledger_waiting_pods Number of Pods that wait because of their shares: for a local slot, for room ` +
		`on local nodes, or for the cloud maximum.
# TYPE spillway_ledger_waiting_pods gauge
spillway_ledger_waiting_pods 1
`
	require.NoError(t, testutil.CollectAndCompare(ledger.NewCollector(c.Ledger), strings.NewReader(want)))
}
