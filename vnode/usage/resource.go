package usage

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The kubelet's metrics. Source: Kubernetes 1.36, pkg/kubelet/metrics/collectors/resource_metrics.go.
var (
	ofContainer = []string{"container", "pod", "namespace"}
	ofPod       = []string{"pod", "namespace"}

	nodeCPU          = prometheus.NewDesc("node_cpu_usage_seconds_total", "Cumulative cpu time consumed by the node in core-seconds", nil, nil)
	nodeMemory       = prometheus.NewDesc("node_memory_working_set_bytes", "Current working set of the node in bytes", nil, nil)
	containerCPU     = prometheus.NewDesc("container_cpu_usage_seconds_total", "Cumulative cpu time consumed by the container in core-seconds", ofContainer, nil)
	containerMemory  = prometheus.NewDesc("container_memory_working_set_bytes", "Current working set of the container in bytes", ofContainer, nil)
	containerStarted = prometheus.NewDesc("container_start_time_seconds", "Start time of the container since unix epoch in seconds", ofContainer, nil)
	podCPU           = prometheus.NewDesc("pod_cpu_usage_seconds_total", "Cumulative cpu time consumed by the pod in core-seconds", ofPod, nil)
	podMemory        = prometheus.NewDesc("pod_memory_working_set_bytes", "Current working set of the pod in bytes", ofPod, nil)
	scrapeError      = prometheus.NewDesc("resource_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", nil, nil)
)

// ServeResource answers /metrics/resource. Every figure has the time at which the exporter told it.
func (c *Collector) ServeResource(w http.ResponseWriter, r *http.Request) {
	samples, cpu := c.Samples(r.Context())
	registry := prometheus.NewRegistry()
	if err := registry.Register(resources{samples, cpu, c.config.Now()}); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

type resources struct {
	samples []*Sample
	cpu     float64
	now     time.Time
}

// Describe implements prometheus.Collector.
func (r resources) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{nodeCPU, nodeMemory, containerCPU, containerMemory, containerStarted, podCPU, podMemory, scrapeError} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (r resources) Collect(metrics chan<- prometheus.Metric) {
	tell := func(at time.Time, desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		metrics <- prometheus.NewMetricWithTimestamp(at, prometheus.MustNewConstMetric(desc, kind, value, labels...))
	}
	var node uint64
	for _, sample := range r.samples {
		pod, namespace := sample.Target.Name, sample.Target.Namespace
		for name, use := range sample.Containers {
			tell(sample.At, containerCPU, prometheus.CounterValue, use.CPU, name, pod, namespace)
			tell(sample.At, containerMemory, prometheus.GaugeValue, float64(use.WorkingSet), name, pod, namespace)
			started := float64(sample.Target.Containers[name].UnixNano()) / float64(time.Second)
			metrics <- prometheus.MustNewConstMetric(containerStarted, prometheus.GaugeValue, started, name, pod, namespace)
		}
		cpu, workingSet := sample.total()
		tell(sample.At, podCPU, prometheus.CounterValue, cpu, pod, namespace)
		tell(sample.At, podMemory, prometheus.GaugeValue, float64(workingSet), pod, namespace)
		node += workingSet
	}
	if len(r.samples) > 0 { // Otherwise the node's use is not known.
		tell(r.now, nodeCPU, prometheus.CounterValue, r.cpu)
		tell(r.now, nodeMemory, prometheus.GaugeValue, float64(node))
	}
	metrics <- prometheus.MustNewConstMetric(scrapeError, prometheus.GaugeValue, 0)
}
