package soldout

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	locks, probes prometheus.Counter
	sizes         prometheus.Gauge
	refused       prometheus.Gauge
	locked        prometheus.Gauge
}

// setLocked shows whether the node is locked.
func (m metrics) setLocked(locked bool) {
	if locked {
		m.locked.Set(1)
	} else {
		m.locked.Set(0)
	}
}

// newMetrics registers the metrics. A nil registerer registers nothing.
func newMetrics(registerer prometheus.Registerer) metrics {
	factory := promauto.With(registerer)
	return metrics{
		locks: factory.NewCounter(prometheus.CounterOpts{
			Name: "spillway_vnode_sold_out_locks_total",
			Help: "Locks of the node because the cloud was sold out or a quota used up.",
		}),
		probes: factory.NewCounter(prometheus.CounterOpts{
			Name: "spillway_vnode_sold_out_probes_total",
			Help: "Cloud Pods of the smallest size that were created to find out whether the cloud has room.",
		}),
		sizes: factory.NewGauge(prometheus.GaugeOpts{
			Name: "spillway_vnode_sold_out_sizes", Help: "Sizes of Pods for which the cloud has no capacity.",
		}),
		refused: factory.NewGauge(prometheus.GaugeOpts{
			Name: "spillway_vnode_quota_waiting_pods",
			Help: "Pods that wait because a quota of the cloud has no room for them.",
		}),
		locked: factory.NewGauge(prometheus.GaugeOpts{
			Name: "spillway_vnode_sold_out_locked",
			Help: "Is 1 while the node is locked because the cloud is sold out or a quota used up, 0 otherwise.",
		}),
	}
}
