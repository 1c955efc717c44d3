package kubelet

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The metrics of the kubelet that a virtual node can have. Source: Kubernetes v1.36, pkg/kubelet/metrics/metrics.go.
var (
	nodeNameMetric = prometheus.NewDesc("kubelet_node_name",
		"The node's name. The count is always 1.", []string{"node"}, nil)
	runningPods = prometheus.NewDesc("kubelet_running_pods",
		"Number of pods with a running container", nil, nil)
	runningContainers = prometheus.NewDesc("kubelet_running_containers",
		"Number of containers by their state", []string{"container_state"}, nil)
)

// nodeMetrics exports the metrics of /metrics. It has none of the process: kubernetes_build_info, for example, would
// look like a kubelet of another version, and one process can serve several nodes. Those are at the health port.
type nodeMetrics struct {
	node string
	pods Pods
}

// Describe implements prometheus.Collector.
func (m nodeMetrics) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{nodeNameMetric, runningPods, runningContainers} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (m nodeMetrics) Collect(metrics chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value int, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), labels...)
	}
	var pods int
	states := map[string]int{"created": 0, "running": 0, "exited": 0}
	for _, pod := range m.pods.List() {
		runs := false
		for _, status := range allStatuses(pod) {
			switch {
			case status.State.Running != nil:
				runs = true
				states["running"]++
			case status.State.Terminated != nil:
				states["exited"]++
			default:
				states["created"]++
			}
		}
		if runs {
			pods++
		}
	}
	gauge(nodeNameMetric, 1, m.node)
	gauge(runningPods, pods)
	for state, count := range states {
		gauge(runningContainers, count, state)
	}
}

// serveMetrics returns a handler for collectors. Without any it serves no metrics, which is a successful scrape.
func serveMetrics(collectors ...prometheus.Collector) (http.Handler, error) {
	registry := prometheus.NewRegistry()
	for _, collector := range collectors {
		if err := registry.Register(collector); err != nil {
			return nil, err
		}
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), nil
}
