package host

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	runningDesc = prometheus.NewDesc("spillway_vnode_node_running",
		"1 while this process runs the virtual node, 0 while it is its standby.", []string{"node"}, nil)
	termsDesc = prometheus.NewDesc("spillway_vnode_node_terms_total",
		"How often this process has taken over the virtual node.", []string{"node"}, nil)
)

// register registers the metrics of the nodes.
func (h *Host) register() error {
	if err := h.registry.Register(h); err != nil {
		return fmt.Errorf("registering the metrics of the nodes: %w", err)
	}
	return nil
}

// Describe implements prometheus.Collector.
func (h *Host) Describe(descs chan<- *prometheus.Desc) {
	descs <- runningDesc
	descs <- termsDesc
}

// Collect implements prometheus.Collector.
func (h *Host) Collect(metrics chan<- prometheus.Metric) {
	for _, n := range h.nodes {
		running, terms := n.counts()
		name := n.config.Node.Name
		metrics <- prometheus.MustNewConstMetric(runningDesc, prometheus.GaugeValue, running, name)
		metrics <- prometheus.MustNewConstMetric(termsDesc, prometheus.CounterValue, terms, name)
	}
}
