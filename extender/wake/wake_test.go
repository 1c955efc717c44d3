package wake_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/extender/wake"
	"github.com/spillway-k8s/spillway/policy"
)

// patches is an API server that answers the first refused times with 500 and hands on the metadata of every patch that it takes.
func patches(t *testing.T, refused int) (kubernetes.Interface, <-chan metav1.ObjectMeta) {
	t.Helper()
	taken := make(chan metav1.ObjectMeta)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refused > 0 {
			refused--
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		var patch struct{ Metadata metav1.ObjectMeta }
		assert.NoError(t, json.NewDecoder(r.Body).Decode(&patch))
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"kind": "Pod", "apiVersion": "v1"}`))
		taken <- patch.Metadata
	}))
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	require.NoError(t, err)
	return client, taken
}

func stoppedClock() time.Time { return time.Unix(0, 0) }

func run(t *testing.T, w *wake.Waker) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-ended)
	})
}

var web = ledger.PodRef{NamespacedName: types.NamespacedName{Namespace: "default", Name: "web"}, UID: "uid-web"}

func TestAPodIsWokenWhateverTheClockSays(t *testing.T) {
	client, taken := patches(t, 0)
	w := wake.New(client, stoppedClock, slog.New(slog.DiscardHandler))
	run(t, w)
	seen := map[string]bool{}
	for range 5 {
		w.Wake(web)
		woken := <-taken
		assert.Equal(t, web.UID, woken.UID, "no later Pod of the same name")
		seen[woken.Annotations[policy.WakeAnnotation]] = true
	}
	assert.Len(t, seen, 5, "each patch changes the Pod")
}

func TestAWakeUpThatFailsIsTriedAgain(t *testing.T) {
	client, taken := patches(t, 3)
	w := wake.New(client, stoppedClock, slog.New(slog.DiscardHandler))
	run(t, w)
	w.Wake(web)
	assert.Equal(t, web.UID, (<-taken).UID)
}
