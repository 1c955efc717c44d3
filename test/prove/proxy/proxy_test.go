package proxy

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/spillway-k8s/spillway/test/prove/record"
)

func newLog(t *testing.T) *record.Log {
	t.Helper()
	log, err := record.Create(filepath.Join(t.TempDir(), "record.jsonl"), time.Now, func(record.Entry) {})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, log.Close()) })
	return log
}

// before starts a proxy in front of a server that simulates the API server, and returns the URL of the proxy.
func before(t *testing.T, server http.HandlerFunc) (*APIServer, *record.Log, string) {
	t.Helper()
	api := httptest.NewServer(server)
	t.Cleanup(api.Close)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"x": {Server: api.URL}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "x"}},
		CurrentContext: "x",
	}, kubeconfig))
	log := newLog(t)
	p, err := ListenAPIServer(kubeconfig, log, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.listener.Close() })
	front := httptest.NewServer(p)
	t.Cleanup(front.Close)
	t.Cleanup(p.late.Wait)
	return p, log, front.URL
}

func TestAHangingBindIsCompletedWhenTheFaultEnds(t *testing.T) {
	landed := make(chan struct{}, 1)
	p, log, url := before(t, func(w http.ResponseWriter, _ *http.Request) {
		landed <- struct{}{}
		w.WriteHeader(http.StatusCreated)
	})
	undo := p.DisturbBinds(BindHangs)
	ctx, kill := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+bindPath, strings.NewReader("the binding"))
	require.NoError(t, err)
	ended := make(chan error)
	go func() {
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			_ = response.Body.Close()
		}
		ended <- err
	}()
	select {
	case <-landed:
		t.Error("the binding has landed during the fault")
	case <-time.After(50 * time.Millisecond): // Nothing shows that it hangs, so the test waits.
	}
	kill()
	require.Error(t, <-ended, "the client was canceled, as if the scheduler was killed")
	undo()
	<-landed
	require.Eventually(t, func() bool { return len(log.Entries()) == 1 }, 5*time.Second, time.Millisecond)
}

const bindPath = "/api/v1/namespaces/ns/pods/web-1/binding"

func TestBindFaults(t *testing.T) {
	for name, test := range map[string]struct {
		fault  BindFault
		status int
		// landed is the number of bindings at the API server when the client gets the answer, and later at the end.
		landed, later int64
	}{
		"no fault":              {"", http.StatusCreated, 1, 1},
		"failed":                {BindFails, http.StatusInternalServerError, 0, 0},
		"bound, with a timeout": {BindLandsUnanswered, http.StatusGatewayTimeout, 1, 1},
		"bound after a timeout": {BindLandsLate, http.StatusGatewayTimeout, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var landed atomic.Int64
			p, log, url := before(t, func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				assert.NoError(t, err)
				assert.Equal(t, "the binding", string(body))
				landed.Add(1)
				w.WriteHeader(http.StatusCreated)
			})
			p.DisturbBinds(test.fault)
			response, err := http.Post(url+bindPath, "application/json", strings.NewReader("the binding"))
			require.NoError(t, err)
			defer response.Body.Close()
			assert.Equal(t, test.status, response.StatusCode)
			assert.Equal(t, test.landed, landed.Load())
			p.late.Wait()
			assert.Equal(t, test.later, landed.Load())
			recorded := func() bool { return len(log.Entries()) == 1 }
			require.Eventually(t, recorded, 5*time.Second, time.Millisecond, "a binding is recorded after its answer")
			bind := log.Entries()[0].Bind
			assert.Equal(t, []string{"ns", "web-1", string(test.fault)}, []string{bind.Namespace, bind.Name, bind.Fault})
		})
	}
}

// ticks simulates an API server whose watches deliver a line for each tick.
func ticks(tick <-chan string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case line := <-tick:
				_, _ = io.WriteString(w, line+"\n")
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}
}

// openWatch opens a watch that resumes from a version.
func openWatch(t *testing.T, url string) *http.Response {
	t.Helper()
	const resuming = "/api/v1/pods?watch=true&resourceVersion=7"
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+resuming, nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func TestWatchesDeliverStallAndAreCut(t *testing.T) {
	tick := make(chan string)
	p, _, url := before(t, ticks(tick))
	watch := openWatch(t, url)
	lines := make(chan string)
	go func() {
		defer close(lines)
		buffer := make([]byte, 100)
		for {
			n, err := watch.Body.Read(buffer)
			if n > 0 {
				lines <- string(buffer[:n])
			}
			if err != nil {
				return
			}
		}
	}()
	tick <- "one"
	assert.Equal(t, "one\n", <-lines)

	undo := p.StallWatches()
	tick <- "two"
	select {
	case line := <-lines:
		t.Errorf("%q was delivered during the stall", line)
	case <-time.After(50 * time.Millisecond): // Nothing shows that the watch stalls, so the test waits.
	}
	undo()
	assert.Equal(t, "two\n", <-lines)

	p.CutWatches()
	_, open := <-lines
	assert.False(t, open, "the watch has ended")
}

func TestResumingWatchesExpire(t *testing.T) {
	p, _, url := before(t, ticks(nil))
	undo := p.ExpireWatches()
	response := openWatch(t, url)
	assert.Equal(t, http.StatusGone, response.StatusCode)
	var status metav1.Status
	require.NoError(t, json.NewDecoder(response.Body).Decode(&status))
	assert.Equal(t, metav1.StatusReasonExpired, status.Reason)
	undo()
	assert.Equal(t, http.StatusOK, openWatch(t, url).StatusCode)
}

func TestRequestsAreRecordedAndAnswersDisturbed(t *testing.T) {
	const request = `{
		"Pod": {"metadata": {"uid": "u1", "resourceVersion": "42"}}, "NodeNames": ["local-0", "virtual-0", "local-1"]
	}`
	for name, test := range map[string]struct {
		fault AnswerFault
		// status is what the scheduler gets. It is 0 if it loses the connection.
		status int
		want   record.Response
	}{
		"no fault": {"", http.StatusOK, record.Response{Virtual: 1}},
		"slow":     {AnswersSlow, http.StatusOK, record.Response{Virtual: 1}},
		"lost":     {AnswersLost, 0, record.Response{Virtual: 1, Error: "lost: the proof disturbs"}},
		"without the extender": {
			AnswersFail, http.StatusInternalServerError, record.Response{Error: "500: the proof disturbs"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			extender := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				assert.Equal(t, "/v1/filter", r.URL.Path)
				_, _ = io.WriteString(w, `{"NodeNames": ["virtual-0"]}`)
			}))
			defer extender.Close()
			log := newLog(t)
			isVirtual := func(node string) bool { return strings.HasPrefix(node, "virtual") }
			p, err := ListenExtender(log, isVirtual, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			p.Target(extender.URL, http.DefaultTransport)
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- p.Run(ctx) }()
			p.Disturb(test.fault)
			response, err := http.Post(p.URL()+"/v1/filter", "application/json", strings.NewReader(request))
			status := 0
			if err == nil {
				status = response.StatusCode
				_ = response.Body.Close()
			}
			assert.Equal(t, test.status, status)
			stop()
			require.NoError(t, <-ended)
			require.Len(t, log.Entries(), 2)
			recorded := &record.Request{ID: 1, Verb: "filter", UID: "u1", Version: 42, Local: 2, Virtual: 1}
			assert.Equal(t, recorded, log.Entries()[0].Request)
			want := test.want
			want.ID, want.Verb, want.UID = 1, "filter", "u1"
			assert.Equal(t, &want, log.Entries()[1].Response)
		})
	}
}
