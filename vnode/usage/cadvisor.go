package usage

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The metrics of cAdvisor, with the labels that the kubelet gives them. Source: cAdvisor v0.56, metrics/prometheus.go;
// Kubernetes v1.36, pkg/kubelet/server/server.go, containerPrometheusLabelsFunc.
var (
	cadvisorLabelNames    = []string{"id", "name", "image", "container", "pod", "namespace"}
	cadvisorCPULabelNames = []string{"cpu", "id", "name", "image", "container", "pod", "namespace"}

	cadvisorCPU = prometheus.NewDesc("container_cpu_usage_seconds_total",
		"Cumulative cpu time consumed in seconds.", cadvisorCPULabelNames, nil)
	cadvisorWorkingSet = prometheus.NewDesc("container_memory_working_set_bytes",
		"Current working set in bytes.", cadvisorLabelNames, nil)
	cadvisorRSS = prometheus.NewDesc("container_memory_rss",
		"Size of RSS in bytes.", cadvisorLabelNames, nil)
	cadvisorMemory = prometheus.NewDesc("container_memory_usage_bytes",
		"Current memory usage in bytes, including all memory regardless of when it was accessed",
		cadvisorLabelNames, nil)
	cadvisorStarted = prometheus.NewDesc("container_start_time_seconds",
		"Start time of the container since unix epoch in seconds.", cadvisorLabelNames, nil)
	cadvisorError = prometheus.NewDesc("container_scrape_error",
		"1 if there was an error while getting container metrics, 0 otherwise", nil, nil)
)

// ServeCAdvisor serves /metrics/cadvisor: the metrics of containers that the exporters report. Each value has the time
// at which the exporter was read.
func (c *Collector) ServeCAdvisor(w http.ResponseWriter, r *http.Request) {
	samples, _ := c.Samples(r.Context())
	serve(w, r, containers(samples))
}

// containers exports the samples as metrics of cAdvisor.
type containers []*Sample

// Describe implements prometheus.Collector.
func (c containers) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		cadvisorCPU, cadvisorWorkingSet, cadvisorRSS, cadvisorMemory, cadvisorStarted, cadvisorError,
	} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (c containers) Collect(metrics chan<- prometheus.Metric) {
	for _, sample := range c {
		target := &sample.Target
		for name, use := range sample.Containers {
			labels := []string{
				"/kubepods/pod" + target.UID + "/" + name, name + "_" + target.UID, target.Images[name], name,
				target.Name, target.Namespace,
			}
			send := func(desc *prometheus.Desc, value float64) {
				metrics <- prometheus.NewMetricWithTimestamp(sample.At,
					prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...))
			}
			metrics <- prometheus.NewMetricWithTimestamp(sample.At, prometheus.MustNewConstMetric(
				cadvisorCPU, prometheus.CounterValue, use.CPU, append([]string{"total"}, labels...)...))
			send(cadvisorWorkingSet, float64(use.WorkingSet))
			if use.RSS != nil {
				send(cadvisorRSS, float64(*use.RSS))
			}
			if use.Memory != nil {
				send(cadvisorMemory, float64(*use.Memory))
			}
			send(cadvisorStarted, float64(target.Containers[name].UnixNano())/float64(time.Second))
		}
	}
	metrics <- prometheus.MustNewConstMetric(cadvisorError, prometheus.GaugeValue, 0)
}
