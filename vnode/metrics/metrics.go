// Package metrics counts what a virtual node does, for Prometheus. It knows names and helps; who counts what is the business of those
// who call.
package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are those of one virtual node.
type Metrics struct {
	registry *prometheus.Registry
	orphans  prometheus.Gauge
	ended    prometheus.Counter
}

// New registers the metrics in a registry of their own.
func New() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		orphans: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "spillway_vnode_orphans", Help: "Cloud Pods that stood for no Pod at the last comparison.",
		}),
		ended: counter("spillway_vnode_orphans_ended_total", "Orphans that the comparison has ended."),
	}
	m.registry.MustRegister(m.orphans, m.ended, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

// Registerer is where the parts of the program register metrics of their own.
func (m *Metrics) Registerer() prometheus.Registerer { return m.registry }

// OrphansFound takes what a comparison has found (orphans.Sweep.Found).
func (m *Metrics) OrphansFound(n int) { m.orphans.Set(float64(n)) }

// OrphanEnded counts one that was ended (orphans.Sweep.Ended).
func (m *Metrics) OrphanEnded() { m.ended.Inc() }

// Handler serves /metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
