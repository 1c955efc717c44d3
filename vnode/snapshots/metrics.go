package snapshots

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	snapshots       *prometheus.GaugeVec
	created, failed prometheus.Counter
}

// newMetrics registers the metrics. A nil registerer registers nothing.
func newMetrics(registerer prometheus.Registerer) metrics {
	factory := promauto.With(registerer)
	return metrics{
		snapshots: factory.NewGaugeVec(prometheus.GaugeOpts{
			Name: "spillway_vnode_image_snapshots",
			Help: "Image snapshots of the virtual node at the last check, by state: available, or being made.",
		}, []string{"state"}),
		created: factory.NewCounter(prometheus.CounterOpts{
			Name: "spillway_vnode_image_snapshots_created_total",
			Help: "Image snapshots that were requested. Each costs a Pod of 2 CPU and 4 GiB while it is made.",
		}),
		failed: factory.NewCounter(prometheus.CounterOpts{
			Name: "spillway_vnode_image_snapshots_failed_total",
			Help: "Image snapshots that could not be made, or that the cloud has refused.",
		}),
	}
}

func (m metrics) set(state survey) {
	available, making := 0, 0
	for _, snapshot := range state.mine {
		switch {
		case snapshot.DeletionTimestamp != nil:
		case snapshot.IsAvailable():
			available++
		default:
			making++
		}
	}
	m.snapshots.WithLabelValues("available").Set(float64(available))
	m.snapshots.WithLabelValues("making").Set(float64(making))
}
