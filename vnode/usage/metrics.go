package usage

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/spillway-k8s/spillway/internal/counters"
)

// Results of requests.
const (
	resultAnswered = "answered"
	resultFailed   = "failed"
)

// metrics counts the requests to exporters.
type metrics struct{ requests *prometheus.CounterVec }

// newMetrics registers the metrics, unless the registerer is nil.
func newMetrics(registerer prometheus.Registerer) metrics {
	requests := promauto.With(registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "spillway_vnode_exporter_requests_total",
		Help: "Requests to the metrics exporters of cloud Pods, by result (answered or failed).",
	}, []string{"result"})
	counters.Start(requests, []string{resultAnswered, resultFailed})
	return metrics{requests}
}

// count records one request.
func (m metrics) count(err error) {
	result := resultAnswered
	if err != nil {
		result = resultFailed
	}
	m.requests.WithLabelValues(result).Inc()
}
