package usage

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The metrics of the kubelet. Source: Kubernetes v1.36, pkg/kubelet/metrics/collectors/resource_metrics.go.
var (
	containerLabelNames = []string{"container", "pod", "namespace"}
	podLabelNames       = []string{"pod", "namespace"}

	nodeCPU = prometheus.NewDesc("node_cpu_usage_seconds_total",
		"Cumulative cpu time consumed by the node in core-seconds", nil, nil)
	nodeMemory = prometheus.NewDesc("node_memory_working_set_bytes",
		"Current working set of the node in bytes", nil, nil)
	containerCPU = prometheus.NewDesc("container_cpu_usage_seconds_total",
		"Cumulative cpu time consumed by the container in core-seconds", containerLabelNames, nil)
	containerMemory = prometheus.NewDesc("container_memory_working_set_bytes",
		"Current working set of the container in bytes", containerLabelNames, nil)
	containerStarted = prometheus.NewDesc("container_start_time_seconds",
		"Start time of the container since unix epoch in seconds", containerLabelNames, nil)
	podCPU = prometheus.NewDesc("pod_cpu_usage_seconds_total",
		"Cumulative cpu time consumed by the pod in core-seconds", podLabelNames, nil)
	podMemory = prometheus.NewDesc("pod_memory_working_set_bytes",
		"Current working set of the pod in bytes", podLabelNames, nil)
	scrapeError = prometheus.NewDesc("resource_scrape_error",
		"1 if there was an error while getting container metrics, 0 otherwise", nil, nil)
)

// ServeResource serves /metrics/resource. Each value has the time at which the exporter was read.
func (c *Collector) ServeResource(w http.ResponseWriter, r *http.Request) {
	samples, cpu := c.Samples(r.Context())
	serve(w, r, resources{samples, cpu, c.config.Now()})
}

// serve serves the metrics of one collector.
func serve(w http.ResponseWriter, r *http.Request, collector prometheus.Collector) {
	registry := prometheus.NewRegistry()
	if err := registry.Register(collector); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

// resources exports the samples as metrics.
type resources struct {
	samples []*Sample
	cpu     float64
	now     time.Time
}

// Describe implements prometheus.Collector.
func (r resources) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		nodeCPU, nodeMemory, containerCPU, containerMemory, containerStarted, podCPU, podMemory, scrapeError,
	} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (r resources) Collect(metrics chan<- prometheus.Metric) {
	send := func(at time.Time, desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		metrics <- prometheus.NewMetricWithTimestamp(at, prometheus.MustNewConstMetric(desc, kind, value, labels...))
	}
	var node uint64
	for _, sample := range r.samples {
		pod, namespace := sample.Target.Name, sample.Target.Namespace
		for name, use := range sample.Containers {
			send(sample.At, containerCPU, prometheus.CounterValue, use.CPU, name, pod, namespace)
			send(sample.At, containerMemory, prometheus.GaugeValue, float64(use.WorkingSet), name, pod, namespace)
			started := float64(sample.Target.Containers[name].UnixNano()) / float64(time.Second)
			metrics <- prometheus.MustNewConstMetric(containerStarted, prometheus.GaugeValue, started, name, pod, namespace)
		}
		cpu, workingSet := sample.total()
		send(sample.At, podCPU, prometheus.CounterValue, cpu, pod, namespace)
		send(sample.At, podMemory, prometheus.GaugeValue, float64(workingSet), pod, namespace)
		node += workingSet
	}
	if len(r.samples) > 0 { // Without a sample the usage of the node is unknown, not zero.
		send(r.now, nodeCPU, prometheus.CounterValue, r.cpu)
		send(r.now, nodeMemory, prometheus.GaugeValue, float64(node))
	}
	metrics <- prometheus.MustNewConstMetric(scrapeError, prometheus.GaugeValue, 0)
}
