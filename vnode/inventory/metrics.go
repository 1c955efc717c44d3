package inventory

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// newLists registers the counter of lists. A nil registerer registers nothing.
func newLists(registerer prometheus.Registerer) *prometheus.CounterVec {
	return promauto.With(registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "spillway_vnode_cloud_lists_total", Help: "Lists of all cloud Pods, by cause: start, expired, cut, interval.",
	}, []string{"cause"})
}
