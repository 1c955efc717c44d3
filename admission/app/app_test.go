package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"

	"github.com/spillway-k8s/spillway/admission/config"
)

func fakeClients() clients {
	client := fake.NewClientset()
	return clients{
		pods: client, lease: client, metadata: metadatafake.NewSimpleMetadataClient(metadatafake.NewTestScheme()),
	}
}

func TestNewReportsAMissingKubeconfig(t *testing.T) {
	cfg := config.Default()
	cfg.Kube.Kubeconfig = "nowhere"
	_, err := New(cfg, "host", slog.Default())
	assert.ErrorContains(t, err, `reading kubeconfig "nowhere"`)
}

func TestAssemble(t *testing.T) {
	files := func(c *config.Config) { c.TLSCertFile, c.TLSPrivateKeyFile = "tls.crt", "tls.key" }
	for name, test := range map[string]struct {
		change  func(*config.Config)
		sources int
		own     bool
	}{
		"with an own certificate, which is a source": {func(*config.Config) {}, 5, true},
		"with the files of a certificate":            {files, 4, false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config.Default()
			test.change(cfg)
			a, err := assemble(cfg, fakeClients(), "host", slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			assert.Len(t, a.sources, test.sources)
			assert.Len(t, a.controllers, 4)
			assert.Equal(t, test.own, a.webhook.GetCertificate != nil)
			assert.Equal(t, cfg.TLSCertFile, a.webhook.CertFile)
			assert.Equal(t, LeaseName, a.leader.Name)
			assert.Contains(t, a.leader.Identity, "host_")
		})
	}
}

// part is a source that is ready when a test says so, and fails when a test says so.
type part struct {
	ready  atomic.Bool
	failed chan error
}

func (p *part) Ready() bool { return p.ready.Load() }

func (p *part) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-p.failed:
		return err
	}
}

// app returns a program of one source that listens on free ports.
func app(t *testing.T, s *part) *App {
	t.Helper()
	cfg := config.Default()
	cfg.Listen, cfg.HealthListen = "127.0.0.1:0", "127.0.0.1:0"
	a, err := assemble(cfg, fakeClients(), "host", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	a.sources = []source{s}
	a.controllers = nil
	return a
}

func status(a *App, path string) int {
	recorder := httptest.NewRecorder()
	a.health.Handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
	return recorder.Code
}

func TestEveryControllerExportsItsFailuresBeforeTheFirst(t *testing.T) {
	a, err := assemble(config.Default(), fakeClients(), "host", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	response := httptest.NewRecorder()
	a.health.Handler.ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, controller := range []string{"tolerate", "explain", "rank"} {
		assert.Contains(t, response.Body.String(),
			`spillway_admission_reconcile_failures_total{controller="`+controller+`"} 0`)
	}
}

func TestTheWebhookServesOnlyWhenEverySourceIsReady(t *testing.T) {
	source := &part{}
	a := app(t, source)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()

	assert.Equal(t, http.StatusOK, status(a, "/healthz"))
	assert.Equal(t, http.StatusServiceUnavailable, status(a, "/readyz"))
	source.ready.Store(true)
	require.Eventually(t, func() bool { return status(a, "/readyz") == http.StatusOK },
		30*time.Second, time.Millisecond)
	assert.Equal(t, http.StatusOK, status(a, "/metrics"))
	cancel()
	require.NoError(t, <-ended)
}

func TestRunEndsWhenAPartFails(t *testing.T) {
	source := &part{failed: make(chan error, 1)}
	source.failed <- errors.New("no watch")
	assert.EqualError(t, app(t, source).Run(t.Context()), "no watch")
}

func TestTheGaugeFollowsTheLeadership(t *testing.T) {
	registry := prometheus.NewRegistry()
	leads, err := newLeadership(registry)
	require.NoError(t, err)
	value := func() float64 {
		families, err := registry.Gather()
		require.NoError(t, err)
		return families[0].GetMetric()[0].GetGauge().GetValue()
	}
	leads(true)
	assert.InDelta(t, 1, value(), 0)
	leads(false)
	assert.Zero(t, value())
	_, err = newLeadership(registry)
	assert.ErrorContains(t, err, "registering the metric of the leadership")
}
