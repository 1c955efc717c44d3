package server

import (
	"fmt"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/spillway-k8s/spillway/internal/counters"
	"github.com/spillway-k8s/spillway/policy"
)

// outcomeKey is the key of the outcome in the context of a request.
const outcomeKey = "outcome"

// Verbs and outcomes of requests, in metrics.
const (
	verbFilter     = "filter"
	verbDryRun     = "filter_dry_run"
	verbPrioritize = "prioritize"
	verbPreempt    = "preempt"
	verbExplain    = "explain"

	outcomeOK        = "ok"
	outcomeRefused   = "refused"
	outcomeError     = "error"
	outcomeMalformed = "malformed"
	outcomeBusy      = "busy"
	outcomeForbidden = "forbidden"
)

type metrics struct {
	requests  *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	decisions *prometheus.CounterVec
}

func newMetrics(registry *prometheus.Registry) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_extender_requests_total",
			Help: "Number of requests of the scheduler, by verb (filter, filter_dry_run, prioritize, preempt, " +
				"explain) and outcome (ok, refused, error, malformed, busy, forbidden).",
		}, []string{"verb", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "spillway_extender_request_duration_seconds",
			Help:    "Time from a request of the scheduler to the response, by verb.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1},
		}, []string{"verb"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_extender_decisions_total",
			Help: "Number of decisions about a Pod in filter, by reason. Dry runs do not count.",
		}, []string{"reason"}),
	}
	for _, collector := range []prometheus.Collector{m.requests, m.duration, m.decisions} {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("registering metrics: %w", err)
		}
	}
	counters.Start(m.requests, []string{verbFilter, verbDryRun, verbPrioritize, verbPreempt, verbExplain},
		[]string{outcomeOK, outcomeRefused, outcomeError, outcomeMalformed, outcomeBusy, outcomeForbidden})
	return m, nil
}

// outcome records the outcome of a request. The default is ok.
func (m *metrics) outcome(c *gin.Context, outcome string) { c.Set(outcomeKey, outcome) }

func (m *metrics) answered(c *gin.Context, verb string, took time.Duration) {
	outcome := c.GetString(outcomeKey)
	if outcome == "" {
		outcome = outcomeOK
	}
	m.requests.WithLabelValues(verb, outcome).Inc()
	m.duration.WithLabelValues(verb).Observe(took.Seconds())
}

func (m *metrics) decided(reason policy.Reason) {
	if reason != "" {
		m.decisions.WithLabelValues(string(reason)).Inc()
	}
}
