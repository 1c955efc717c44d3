package controllers

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the counters of the controllers.
type Metrics struct {
	// Tolerations counts Pods that were let onto virtual nodes, by the policy's reason.
	Tolerations *prometheus.CounterVec
	// Explained counts Events that tell a Pod why it has to wait, or what is malformed on it, by the policy's reason.
	Explained *prometheus.CounterVec
	// Ranks counts deletion costs written.
	Ranks prometheus.Counter
	// Failures counts attempts that failed and are tried again, by controller.
	Failures *prometheus.CounterVec
	// Leader is 1 while this process runs the controllers.
	Leader prometheus.Gauge
}

// NewMetrics makes the counters and registers them. Registering them twice is an error.
func NewMetrics(registerer prometheus.Registerer) (Metrics, error) {
	m := Metrics{
		Tolerations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_admission_tolerations_added_total", Help: "Waiting Pods that were let onto virtual nodes, by reason.",
		}, []string{"reason"}),
		Explained: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_admission_pods_explained_total", Help: "Events that tell a Pod why it waits, or what is malformed on it, by reason.",
		}, []string{"reason"}),
		Ranks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "spillway_admission_ranks_written_total", Help: "Cloud Pods that got a deletion cost.",
		}),
		Failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_admission_reconcile_failures_total", Help: "Attempts that failed and are tried again, by controller. Conflicts do not count.",
		}, []string{"controller"}),
		Leader: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "spillway_admission_leader", Help: "1 while this process runs the controllers.",
		}),
	}
	var faults []error
	for _, collector := range []prometheus.Collector{m.Tolerations, m.Explained, m.Ranks, m.Failures, m.Leader} {
		faults = append(faults, registerer.Register(collector))
	}
	if err := errors.Join(faults...); err != nil {
		return Metrics{}, fmt.Errorf("registering the metrics of the controllers: %w", err)
	}
	return m, nil
}

func (m Metrics) failed(controller string) func() { return m.Failures.WithLabelValues(controller).Inc }

// Leads notes whether this process leads (leader.Leader.Leads).
func (m Metrics) Leads(leads bool) {
	if leads {
		m.Leader.Set(1)
		return
	}
	m.Leader.Set(0)
}
