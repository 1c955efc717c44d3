package webhook

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spillway-k8s/spillway/internal/counters"
	"github.com/spillway-k8s/spillway/internal/evaluation"
)

// outcome is the result of a review.
type outcome string

const (
	// outcomeMutated: the webhook changed the object.
	outcomeMutated outcome = "mutated"
	// outcomeUntouched: the object needed no change.
	outcomeUntouched outcome = "untouched"
	// outcomeFailed: the evaluation or the patch failed, so the webhook allowed the object unchanged.
	outcomeFailed outcome = "failed"
	// outcomeRefused: the webhook rejected the object.
	outcomeRefused outcome = "refused"
	// outcomeMalformed: the request is not a review for its path.
	outcomeMalformed outcome = "malformed"
	// outcomeBusy: the reviews in flight needed too much memory for another one.
	outcomeBusy outcome = "busy"
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
			Help: "Reviews by webhook and outcome: mutated, untouched, failed (allowed unchanged), refused (rejected), " +
				"malformed (status 400), busy (status 503: too much in flight).",
		}, []string{"webhook", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "spillway_admission_webhook_duration_seconds",
			Help:    "Time from the arrival of a review to its response, by webhook.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .025, .05, .1, .25, .5, 1, 2},
		}, []string{"webhook"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_admission_webhook_decisions_total",
			Help: "Decisions about managed Pods at creation, by placement and reason.",
		}, []string{"placement", "reason"}),
	}
	err := errors.Join(registerer.Register(m.requests), registerer.Register(m.duration), registerer.Register(m.decisions))
	if err != nil {
		return metrics{}, fmt.Errorf("registering the metrics of the webhook: %w", err)
	}
	return m, nil
}

// start exports the counters of a webhook.
func (m metrics) start(webhook string) {
	counters.Start(m.requests, []string{webhook}, counters.Values(
		outcomeMutated, outcomeUntouched, outcomeFailed, outcomeRefused, outcomeMalformed, outcomeBusy))
}

func (m metrics) observe(webhook string, o outcome, duration time.Duration) {
	m.requests.WithLabelValues(webhook, string(o)).Inc()
	m.duration.WithLabelValues(webhook).Observe(duration.Seconds())
}

func (m metrics) countDecision(result evaluation.Result) {
	if result.Managed {
		m.decisions.WithLabelValues(string(result.Placement), string(result.Reason)).Inc()
	}
}
