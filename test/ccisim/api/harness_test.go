package api

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	testclock "k8s.io/utils/clock/testing"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/podlife"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

const (
	podsPath = "/apis/cci/v2/namespaces/ns/pods"
	token    = "token-1"
)

var (
	start   = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	account = Credential{
		AccessKey: "AKTEST", SecretKey: "secret of the test", ProjectID: "project-1", DomainID: "domain-1", AuthToken: token,
	}
)

// env is a server without a listener, with a clock that only step moves.
type env struct {
	t      *testing.T
	server *Server
	clock  *testclock.FakeClock
}

func newEnv(t *testing.T, change ...func(*Config, *store.Config)) *env {
	t.Helper()
	e := &env{t: t, clock: testclock.NewFakeClock(start)}
	logger, table := slog.New(slog.DiscardHandler), faults.NewTable(faults.Policies{})
	cfg := Config{
		Auth: NewAuth([]Credential{account}, e.clock, time.Hour), Faults: table, Requests: NewRequests(),
		Clock: e.clock, Logger: logger, BookmarkInterval: time.Minute, WatchTimeout: time.Hour, ExecIdle: time.Minute,
	}
	storeCfg := store.Config{
		HistoryLimit: 100, Faults: table, Pods: store.NewPodHistory(), Clock: e.clock, Logger: logger,
	}
	for _, c := range change {
		c(&cfg, &storeCfg)
	}
	storeCfg.Generation = cfg.Generation
	stored, err := store.Open(storeCfg)
	require.NoError(t, err)
	cfg.Store = stored
	cfg.Life = podlife.New(podlife.Config{
		Store: stored, Faults: table, Clock: e.clock, Logger: logger, Range: netip.MustParsePrefix("10.0.0.0/24"),
	})
	e.server = New(cfg)
	return e
}

// newNamespaceEnv also has the namespace "ns".
func newNamespaceEnv(t *testing.T, change ...func(*Config, *store.Config)) *env {
	t.Helper()
	e := newEnv(t, change...)
	e.want(http.StatusCreated, "POST", "/apis/cci/v2/namespaces",
		`{"apiVersion":"cci/v2","kind":"Namespace","metadata":{"name":"ns"}}`)
	return e
}

func (e *env) step(d time.Duration) {
	e.clock.Step(d)
	e.server.life.ReconcileDue()
}

// do sends a request with the token of the account, and returns the response.
func (e *env) do(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	e.t.Helper()
	r := httptest.NewRequest(method, target, io.NopCloser(strings.NewReader(body)))
	r.Header.Set(headerAuthToken, token)
	r.Header.Set("Content-Type", jsonType)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	e.server.ServeHTTP(w, r)
	return w
}

// want sends a request, and requires a status of the response.
func (e *env) want(status int, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	e.t.Helper()
	w := e.do(method, target, body, headers...)
	require.Equal(e.t, status, w.Code, "%s %s: %s", method, target, w.Body)
	return w
}

func decoded[T any](t *testing.T, w *httptest.ResponseRecorder) T {
	t.Helper()
	var out T
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &out), "%s", w.Body)
	return out
}

// podBody returns a valid Pod with more fields in its metadata.
func podBody(name, meta string) string {
	return `{"apiVersion":"cci/v2","kind":"Pod","metadata":{"name":"` + name + `"` + meta + `},"spec":{"containers":[` +
		`{"name":"web","image":"registry/nginx:1","resources":{"limits":{"cpu":"500m","memory":"1Gi"}}}]}}`
}

func (e *env) createPod(name, meta string) *objects.Pod {
	e.t.Helper()
	pod := decoded[objects.Pod](e.t, e.want(http.StatusCreated, "POST", podsPath, podBody(name, meta)))
	return &pod
}

// message returns the message of an error.
func (e *env) message(w *httptest.ResponseRecorder) string {
	e.t.Helper()
	status := decoded[codedStatus](e.t, w)
	assert.Equal(e.t, int32(w.Code), status.Code)
	return status.Message
}
