package servers

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/proxy/proxytest"
	"github.com/spillway-k8s/spillway/vnode/services"
)

const soon = time.Minute

func none() []netip.AddrPort { return nil }

// get sends one request that lists Services.
func get(ctx context.Context, through http.RoundTripper) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://services/api/v1/services", nil)
	if err != nil {
		return nil, err
	}
	return through.RoundTrip(request)
}

// requireAnswer sends a request and checks that a server answers.
func requireAnswer(t *testing.T, through http.RoundTripper) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), soon)
	defer stop()
	response, err := get(ctx, through)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(t, http.StatusOK, response.StatusCode)
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
}

// log is a log that can be read while it is written.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

func TestAnotherServerAnswersIfOneDoesNot(t *testing.T) {
	cluster := proxytest.NewCluster()
	first, second := cluster.Start(t), cluster.Start(t)
	var lines log
	s := New(proxytest.Kubeconfig(t, proxytest.Token, first, second), none, slog.New(slog.NewTextHandler(&lines, nil)))
	requireAnswer(t, s)
	assert.Empty(t, second.Requests(), "the current context is the first")

	for _, status := range []int{401, 403, 429, 500, 502, 503} {
		first.Refuse(status)
		second.Refuse(0)
		requireAnswer(t, s)
		asked := len(first.Requests())
		requireAnswer(t, s)
		assert.Len(t, first.Requests(), asked, "the server that has answered is asked first")
		first.Refuse(0)
		second.Refuse(status)
		requireAnswer(t, s)
	}
	second.Refuse(0)
	first.Stop()
	requireAnswer(t, s)
	require.NoError(t, s.Failure())
	assert.Zero(t, lines.count("level=WARN"), "a server has always answered")
}

func TestDiscoveredServersAreAskedLast(t *testing.T) {
	cluster := proxytest.NewCluster()
	// The certificates of the test servers are the same.
	configured, discovered := cluster.Start(t), cluster.Start(t)
	s := New(proxytest.Kubeconfig(t, proxytest.Token, configured), func() []netip.AddrPort {
		return []netip.AddrPort{netip.MustParseAddrPort(configured.Address()), netip.MustParseAddrPort(discovered.Address())}
	}, slog.New(slog.DiscardHandler))
	requireAnswer(t, s)
	assert.Empty(t, discovered.Requests())
	configured.Stop()
	requireAnswer(t, s)
	assert.Len(t, discovered.Requests(), 1)
}

func TestARequestWaitsUntilAServerAnswers(t *testing.T) {
	cluster := proxytest.NewCluster()
	server := cluster.Start(t)
	server.Refuse(http.StatusServiceUnavailable)
	var lines log
	s := New(proxytest.Kubeconfig(t, proxytest.Token, server), none, slog.New(slog.NewTextHandler(&lines, nil)))
	answered := make(chan error)
	go func() {
		response, err := get(t.Context(), s)
		if err == nil {
			err = response.Body.Close()
		}
		answered <- err
	}()
	require.Eventually(t, func() bool { return len(server.Requests()) >= 3 }, soon, time.Millisecond)
	require.ErrorContains(t, s.Failure(), server.Address()+": 503 Service Unavailable: this server is told to refuse")
	assert.Equal(t, 1, lines.count("no server answers"), "the same failure is logged once")
	server.Refuse(0)
	require.NoError(t, <-answered)
	require.NoError(t, s.Failure())
	assert.Equal(t, 1, lines.count("Services are followed"))
}

func TestARequestEndsWithItsContext(t *testing.T) {
	s := New(filepath.Join(t.TempDir(), "none"), none, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := get(ctx, s)
		ended <- err
	}()
	require.Eventually(t, func() bool { return s.Failure() != nil }, soon, time.Millisecond)
	assert.ErrorContains(t, s.Failure(), "reading the kubeconfig")
	stop()
	assert.ErrorIs(t, <-ended, context.Canceled)
}

func TestTheKubeconfigIsReadAgain(t *testing.T) {
	cluster := proxytest.NewCluster()
	old, present := cluster.Start(t), cluster.Start(t)
	file := proxytest.Kubeconfig(t, proxytest.Token, old)
	s := New(file, none, slog.New(slog.DiscardHandler))
	requireAnswer(t, s)
	old.Stop()
	content, err := os.ReadFile(proxytest.Kubeconfig(t, proxytest.Token, present))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, content, 0o600))
	requireAnswer(t, s)

	// What cannot be read leaves the servers as they are.
	require.NoError(t, os.WriteFile(file, []byte("{"), 0o600))
	requireAnswer(t, s)
}

func TestAForeignCertificateIsRefused(t *testing.T) {
	cluster := proxytest.NewCluster()
	server := cluster.Start(t)
	file := proxytest.Kubeconfig(t, proxytest.Token, server)
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	content = bytes.ReplaceAll(content, []byte("example.com"), []byte("spillway-services"))
	require.NoError(t, os.WriteFile(file, content, 0o600))
	s := New(file, none, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { _, _ = get(ctx, s) }()
	require.Eventually(t, func() bool { return s.Failure() != nil }, soon, time.Millisecond)
	assert.ErrorContains(t, s.Failure(), "not spillway-services")
	assert.Empty(t, server.Requests(), "the token was not sent")
}

// vnode writes the addresses in order of preference, and the first is the current context.
func TestKubeconfigsOfVnodeAreRead(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	content, err := services.Kubeconfig([]string{"10.0.0.9:10260", "10.0.0.1:10260", "lb.example.com:10260"}, ca, "v1.a.b")
	require.NoError(t, err)
	found, err := parse(content)
	require.NoError(t, err)
	var names []string
	for _, one := range found {
		names = append(names, one.name)
	}
	assert.Equal(t, []string{"10.0.0.9:10260", "10.0.0.1:10260", "lb.example.com:10260"}, names)
}

func TestKubeconfigsThatCannotBeUsedAreRefused(t *testing.T) {
	const whole = `{"clusters": [{"name": "c", "cluster": {"server": %q}}],
		"users": [{"name": "u", "user": {"token": "t"}}],
		"contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x"}`
	for name, tc := range map[string]struct{ content, want string }{
		"no YAML":              {"{", "yaml"},
		"no context":           {"{}", "contexts: there is none"},
		"no TLS":               {fmt.Sprintf(whole, "http://10.0.0.1"), `server: invalid value "http://10.0.0.1"`},
		"no host":              {fmt.Sprintf(whole, "https://"), `server: invalid value "https://"`},
		"a cluster is missing": {`{"contexts": [{"name": "x", "context": {"cluster": "c"}}]}`, `context "x"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse([]byte(tc.content))
			require.ErrorContains(t, err, tc.want)
		})
	}
	found, err := parse(fmt.Appendf(nil, whole, "https://10.0.0.1:10260"))
	require.NoError(t, err)
	assert.Equal(t, "10.0.0.1:10260", found[0].name)
}
