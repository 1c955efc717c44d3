package programtest

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const metrics = `# TYPE requests_total counter
requests_total{verb="filter",code="200"} 3
requests_total{verb="filter",code="500"} 1
requests_total{verb="preempt",code="200"} 5
# TYPE pods gauge
pods{phase="Running"} 7
# TYPE seconds histogram
seconds_bucket{verb="filter",le="1"} 2
seconds_bucket{verb="filter",le="+Inf"} 4
seconds_sum{verb="filter"} 6.5
seconds_count{verb="filter"} 4
`

// serve returns the URL of a program that serves metrics, and is not ready.
func serve(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, metrics) })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "starting", http.StatusServiceUnavailable)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

func TestMetricAddsTheSeriesWithAllLabels(t *testing.T) {
	url := serve(t)
	for name, test := range map[string]struct {
		metric string
		labels []string
		want   float64
	}{
		"a counter":                      {"requests_total", nil, 9},
		"a counter with one label":       {"requests_total", []string{"filter"}, 4},
		"a counter with two labels":      {"requests_total", []string{"200", "filter"}, 3},
		"a label that no series has":     {"requests_total", []string{"bind"}, 0},
		"a gauge":                        {"pods", []string{"Running"}, 7},
		"the observations of histograms": {"seconds", []string{"filter"}, 4},
		"an unknown metric":              {"other", nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			assert.InDelta(t, test.want, Metric(t, url, test.metric, test.labels...), 0)
		})
	}
}

func TestGetReturnsTheBodyOrAnErrorThatContainsIt(t *testing.T) {
	url := serve(t)
	text, err := Get(url + "/metrics")
	require.NoError(t, err)
	assert.Equal(t, metrics, text)
	_, err = Get(url + "/readyz")
	assert.EqualError(t, err, url+"/readyz: 503 Service Unavailable: starting\n")
	_, err = Get("http://" + FreeAddress(t))
	assert.ErrorContains(t, err, "connection refused")
}

func TestFreeAddressesDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 20 {
		address := FreeAddress(t)
		assert.False(t, seen[address], address)
		seen[address] = true
		listener, err := net.Listen("tcp", address)
		require.NoError(t, err)
		require.NoError(t, listener.Close())
	}
}

func TestEventuallyRetries(t *testing.T) {
	calls := 0
	Eventually(t, func() error {
		if calls++; calls < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	assert.Equal(t, 3, calls)
}

func TestLogKeepsLinesOfManyGoroutines(t *testing.T) {
	log := &Log{}
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() { _, _ = fmt.Fprintf(log, "line %d\n", i) })
	}
	group.Wait()
	assert.Equal(t, 100, strings.Count(log.String(), "\n"))
	assert.Equal(t, 79, strings.Count(log.Tail(), "line "), "80 lines, the last one empty")
	assert.True(t, strings.HasSuffix(log.String(), log.Tail()))
}
