package nodeconditions

import "github.com/prometheus/client_golang/prometheus"

var conditionDesc = prometheus.NewDesc("spillway_vnode_node_condition",
	"Is 1 while a condition of the Node holds, 0 otherwise, by condition: CloudDenied, CloudThrottled, "+
		"CloudUnavailable, CloudUnusable and FeaturesMissing.", []string{"condition"}, nil)

// Describe implements prometheus.Collector.
func (t *Tracker) Describe(descs chan<- *prometheus.Desc) { descs <- conditionDesc }

// Collect implements prometheus.Collector.
func (t *Tracker) Collect(metrics chan<- prometheus.Metric) {
	for _, c := range t.conditions() {
		value := 0.0
		if c.holds {
			value = 1
		}
		metrics <- prometheus.MustNewConstMetric(conditionDesc, prometheus.GaugeValue, value, string(c.kind))
	}
}
