package webhook

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spillway-k8s/spillway/admission/verdict"
)

// outcome is what became of a review.
type outcome string

const (
	// outcomeMutated: the object was changed.
	outcomeMutated outcome = "mutated"
	// outcomeUntouched: there was nothing to change.
	outcomeUntouched outcome = "untouched"
	// outcomeFailed: the verdict could not be found, so the Pod was allowed as it was.
	outcomeFailed outcome = "failed"
	// outcomeRefused: the object has malformed keys.
	outcomeRefused outcome = "refused"
	// outcomeMalformed: the request was no review of what its path is for.
	outcomeMalformed outcome = "malformed"
)

type metrics struct {
	requests  *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	decisions *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer) (metrics, error) {
	m := metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_admission_webhook_requests_total",
			Help: "Reviews by webhook and outcome: mutated, untouched, failed (allowed as they were), refused, malformed (status 400).",
		}, []string{"webhook", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "spillway_admission_webhook_duration_seconds",
			Help:    "Time from the arrival of a review to its answer, by webhook.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .025, .05, .1, .25, .5, 1, 2},
		}, []string{"webhook"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_admission_webhook_decisions_total",
			Help: "Pods with a burst policy of their own, their workload or their namespace, by placement and reason.",
		}, []string{"placement", "reason"}),
	}
	err := errors.Join(registerer.Register(m.requests), registerer.Register(m.duration), registerer.Register(m.decisions))
	if err != nil {
		return metrics{}, fmt.Errorf("registering the metrics of the webhook: %w", err)
	}
	return m, nil
}

func (m metrics) observe(webhook string, o outcome, took time.Duration) {
	m.requests.WithLabelValues(webhook, string(o)).Inc()
	m.duration.WithLabelValues(webhook).Observe(took.Seconds())
}

func (m metrics) decided(v verdict.Verdict) {
	if v.Keyed {
		m.decisions.WithLabelValues(string(v.Placement), string(v.Reason)).Inc()
	}
}
