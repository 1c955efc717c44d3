package usage

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics counts the requests to exporters.
type metrics struct{ requests *prometheus.CounterVec }

// newMetrics registers the metrics, unless the registerer is nil.
func newMetrics(registerer prometheus.Registerer) metrics {
	return metrics{requests: promauto.With(registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "spillway_vnode_exporter_requests_total",
		Help: "Requests to the metrics exporters of cloud Pods, by result (answered or failed).",
	}, []string{"result"})}
}

// count records one request.
func (m metrics) count(err error) {
	result := "answered"
	if err != nil {
		result = "failed"
	}
	m.requests.WithLabelValues(result).Inc()
}
