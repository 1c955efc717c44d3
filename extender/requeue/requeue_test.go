package requeue_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/extender/requeue"
	"github.com/spillway-k8s/spillway/policy"
)

// patches returns the client of an API server, and the metadata of every patch that the server accepts. The server
// answers the first requests with the given statuses.
func patches(t *testing.T, statuses ...int) (kubernetes.Interface, <-chan metav1.ObjectMeta) {
	t.Helper()
	accepted := make(chan metav1.ObjectMeta)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(statuses) > 0 {
			w.WriteHeader(statuses[0])
			statuses = statuses[1:]
			return
		}
		var patch struct{ Metadata metav1.ObjectMeta }
		assert.NoError(t, json.NewDecoder(r.Body).Decode(&patch))
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"kind": "Pod", "apiVersion": "v1"}`))
		accepted <- patch.Metadata
	}))
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	require.NoError(t, err)
	return client, accepted
}

func stoppedClock() time.Time { return time.Unix(0, 0) }

// leader is a Leadership. Its error is nil while this process leads.
type leader struct{ err error }

func (l *leader) Ready() error { return l.err }

// run starts a Requeuer that stops at the end of the test.
func run(t *testing.T, client kubernetes.Interface, l *leader) (*requeue.Requeuer, prometheus.Gatherer) {
	t.Helper()
	registry := prometheus.NewRegistry()
	r, err := requeue.New(client, l, stoppedClock, registry, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-ended)
	})
	return r, registry
}

// requireCounts waits until the metric has these values by outcome.
func requireCounts(t *testing.T, registry prometheus.Gatherer, want map[string]float64) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		families, err := registry.Gather()
		require.NoError(c, err)
		require.Len(c, families, 1)
		got := map[string]float64{}
		for _, one := range families[0].GetMetric() {
			got[one.GetLabel()[0].GetValue()] = one.GetCounter().GetValue()
		}
		assert.Equal(c, want, got)
	}, 10*time.Second, time.Millisecond)
}

func ref(name string) ledger.PodRef {
	return ledger.PodRef{
		NamespacedName: types.NamespacedName{Namespace: "default", Name: name}, UID: types.UID("uid-" + name),
	}
}

func TestEveryRequeueChangesThePodWhateverTheClockReturns(t *testing.T) {
	client, accepted := patches(t)
	r, registry := run(t, client, &leader{})
	seen := map[string]bool{}
	for range 5 {
		r.Add(ref("web"))
		patch := <-accepted
		assert.EqualValues(t, "uid-web", patch.UID, "a later Pod of the same name is not changed")
		seen[patch.Annotations[policy.RequeueAnnotation]] = true
	}
	assert.Len(t, seen, 5)
	requireCounts(t, registry, map[string]float64{"requeued": 5, "gone": 0, "failed": 0})
}

func TestAFailedRequeueIsRetried(t *testing.T) {
	failed := http.StatusInternalServerError
	client, accepted := patches(t, failed, failed, failed)
	r, registry := run(t, client, &leader{})
	r.Add(ref("web"))
	assert.EqualValues(t, "uid-web", (<-accepted).UID)
	requireCounts(t, registry, map[string]float64{"requeued": 1, "gone": 0, "failed": 3})
}

func TestAPodThatIsGoneIsNotRetried(t *testing.T) {
	for name, status := range map[string]int{
		"it is deleted": http.StatusNotFound, "it was replaced": http.StatusConflict,
	} {
		t.Run(name, func(t *testing.T) {
			client, accepted := patches(t, status)
			r, registry := run(t, client, &leader{})
			r.Add(ref("gone"))
			time.Sleep(100 * time.Millisecond) // Five times the delay of a retry.
			r.Add(ref("web"))
			assert.EqualValues(t, "uid-web", (<-accepted).UID, "the first patch that is accepted")
			requireCounts(t, registry, map[string]float64{"requeued": 1, "gone": 1, "failed": 0})
		})
	}
}

func TestOnlyTheLeaderRequeues(t *testing.T) {
	client, accepted := patches(t)
	l := &leader{errors.New("another process leads")}
	r, _ := run(t, client, l)
	r.Add(ref("before"))
	l.err = nil
	r.Add(ref("after"))
	assert.EqualValues(t, "uid-after", (<-accepted).UID)
}
