package cci

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/spillway-k8s/spillway/internal/fairness"
)

// metrics counts and times the attempts of requests.
type metrics struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
}

// newMetrics registers the metrics, unless the registerer is nil. Namespaces are not labels: there can be many.
func newMetrics(registerer prometheus.Registerer, limiter *fairness.Limiter) metrics {
	factory := promauto.With(registerer)
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "spillway_vnode_cloud_waiting_requests", Help: "Requests to the cloud that wait for the rate limit.",
	}, func() float64 {
		requests, _ := limiter.Waiting()
		return float64(requests)
	})
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "spillway_vnode_cloud_waiting_namespaces",
		Help: "Namespaces whose requests to the cloud wait for the rate limit. They take turns.",
	}, func() float64 {
		_, namespaces := limiter.Waiting()
		return float64(namespaces)
	})
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "spillway_vnode_cloud_rate_limit",
		Help: "Requests per second that may be sent to the cloud in the long run. It grows from cci.qps to " +
			"cci.maxQPS while the cloud takes them, and falls when the cloud throttles.",
	}, limiter.Rate)
	return metrics{
		requests: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_vnode_cloud_requests_total",
			Help: "Attempts of requests to the cloud, by operation and HTTP status code " +
				"(none if there was no response).",
		}, []string{"operation", "code"}),
		durations: factory.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "spillway_vnode_cloud_request_duration_seconds",
			Help:    "Time in seconds until the header of a response from the cloud arrived, by operation.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"operation"}),
	}
}

// noResponse is the code of an attempt without a response.
const noResponse = "none"

// observe records one attempt. code is the HTTP status code or noResponse.
func (m metrics) observe(operation, code string, elapsed time.Duration) {
	m.requests.WithLabelValues(operation, code).Inc()
	m.durations.WithLabelValues(operation).Observe(elapsed.Seconds())
}
