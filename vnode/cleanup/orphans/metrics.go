package orphans

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	orphans prometheus.Gauge
	deleted prometheus.Counter
}

// newMetrics registers the metrics. A nil registerer registers nothing.
func newMetrics(registerer prometheus.Registerer) metrics {
	factory := promauto.With(registerer)
	return metrics{
		orphans: factory.NewGauge(prometheus.GaugeOpts{
			Name: "spillway_vnode_orphans",
			Help: "Cloud Pods without a Pod at the last comparison of the cloud with the cluster.",
		}),
		deleted: factory.NewCounter(prometheus.CounterOpts{
			Name: "spillway_vnode_orphans_ended_total",
			Help: "Cloud Pods without a Pod that the comparison has deleted.",
		}),
	}
}
