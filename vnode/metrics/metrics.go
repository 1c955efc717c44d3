// Package metrics counts what a virtual node does, for Prometheus. It knows names and helps; who counts what is the business of those
// who call.
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/spillway-k8s/spillway/vnode/mirror"
	"github.com/spillway-k8s/spillway/vnode/provider"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// Metrics are those of one virtual node.
type Metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	relists   *prometheus.CounterVec
	creation  prometheus.Histogram
	adopted   prometheus.Counter
	refused   *prometheus.CounterVec
	collected prometheus.Counter
	lost      prometheus.Counter
	locks     prometheus.Counter
	orphans   prometheus.Gauge
	ended     prometheus.Counter
	mirrored  *prometheus.CounterVec
	exporters *prometheus.CounterVec
}

// New registers the metrics in a registry of their own.
func New() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_vnode_cloud_requests_total", Help: "Tries of requests to the cloud, by operation and HTTP status (none: no answer).",
		}, []string{"operation", "code"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "spillway_vnode_cloud_request_duration_seconds", Help: "Time until the header of an answer, by operation.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"operation"}),
		relists: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_vnode_cloud_lists_total", Help: "Lists of all cloud Pods, by cause: start, expired, cut, interval.",
		}, []string{"cause"}),
		creation: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "spillway_vnode_pod_creation_seconds", Help: "Time from the first try to make a cloud Pod until the cloud took it.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}),
		adopted: counter("spillway_vnode_pods_adopted_total", "Cloud Pods that were there already when they were to be made."),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_vnode_pods_refused_total", Help: "Pods that cannot run in the cloud, by reason.",
		}, []string{"reason"}),
		collected: counter("spillway_vnode_pods_collected_total", "Cloud Pods ended because their Pods were gone."),
		lost:      counter("spillway_vnode_pods_lost_total", "Cloud Pods that vanished without having been asked to."),
		orphans: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "spillway_vnode_orphans", Help: "Cloud Pods that stood for no Pod at the last comparison.",
		}),
		ended: counter("spillway_vnode_orphans_ended_total", "Orphans that the comparison has ended."),
		exporters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_vnode_exporter_requests_total", Help: "Questions to the exporters of cloud Pods, by result: answered, failed.",
		}, []string{"result"}),
		locks: counter("spillway_vnode_sold_out_locks_total", "Locks of the node because the cloud was sold out."),
		mirrored: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_vnode_mirror_writes_total", Help: "Copies in the cloud that were created, updated or deleted, by kind.",
		}, []string{"kind", "operation"}),
	}
	m.registry.MustRegister(m.requests, m.durations, m.relists, m.creation, m.adopted, m.refused, m.collected, m.lost, m.locks, m.orphans, m.ended,
		m.mirrored, m.exporters,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

// CountPods has the Pods of the node counted by phase whenever somebody looks. It must be called once.
func (m *Metrics) CountPods(count func() map[string]int) {
	m.registry.MustRegister(counted{prometheus.NewDesc("spillway_vnode_pods", "Pods of this node, by phase.", []string{"phase"}, nil), count})
}

// CountMirrors has the copies in the cloud counted by kind whenever somebody looks. It must be called once.
func (m *Metrics) CountMirrors(count func() map[string]int) {
	m.registry.MustRegister(counted{
		prometheus.NewDesc("spillway_vnode_mirrors", "Copies in the cloud of what Pods refer to, by kind.", []string{"kind"}, nil), count,
	})
}

// counted is a gauge whose values are counted when somebody looks.
type counted struct {
	desc  *prometheus.Desc
	count func() map[string]int
}

// Describe implements prometheus.Collector.
func (c counted) Describe(descs chan<- *prometheus.Desc) { descs <- c.desc }

// Collect implements prometheus.Collector.
func (c counted) Collect(metrics chan<- prometheus.Metric) {
	for label, n := range c.count() {
		metrics <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n), label)
	}
}

// CloudRequest counts a try of a request (cci.Config.Observe).
func (m *Metrics) CloudRequest(operation, code string, elapsed time.Duration) {
	m.requests.WithLabelValues(operation, code).Inc()
	m.durations.WithLabelValues(operation).Observe(elapsed.Seconds())
}

// Relisted counts a list of all cloud Pods (inventory.Config.Relisted).
func (m *Metrics) Relisted(cause string) { m.relists.WithLabelValues(cause).Inc() }

// OrphansFound takes what a comparison has found (orphans.Sweep.Found).
func (m *Metrics) OrphansFound(n int) { m.orphans.Set(float64(n)) }

// OrphanEnded counts one that was ended (orphans.Sweep.Ended).
func (m *Metrics) OrphanEnded() { m.ended.Inc() }

// ExporterAsked counts a question to the exporter of a cloud Pod (usage.Config.Asked).
func (m *Metrics) ExporterAsked(answered bool) {
	if answered {
		m.exporters.WithLabelValues("answered").Inc()
		return
	}
	m.exporters.WithLabelValues("failed").Inc()
}

// Locked counts a lock of the node (soldout.Config.Locked).
func (m *Metrics) Locked() { m.locks.Inc() }

// Observer counts what becomes of Pods.
func (m *Metrics) Observer() provider.Observer {
	return provider.Observer{
		Created:   func(elapsed time.Duration) { m.creation.Observe(elapsed.Seconds()) },
		Adopted:   m.adopted.Inc,
		Refused:   func(reason string) { m.refused.WithLabelValues(reason).Inc() },
		Collected: m.collected.Inc,
		Lost:      m.lost.Inc,
	}
}

// MirrorObserver counts what becomes of copies.
func (m *Metrics) MirrorObserver() mirror.Observer {
	return mirror.Observer{Written: func(kind translate.MirrorKind, operation string) {
		m.mirrored.WithLabelValues(string(kind), operation).Inc()
	}}
}

// Handler serves /metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
