package inventory

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/spillway-k8s/spillway/internal/counters"
)

// newLists registers the counter of lists. A nil registerer registers nothing.
func newLists(registerer prometheus.Registerer) *prometheus.CounterVec {
	lists := promauto.With(registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "spillway_vnode_cloud_lists_total", Help: "Lists of all cloud Pods, by cause: start, expired, cut, interval.",
	}, []string{"cause"})
	counters.Start(lists, []string{causeStart, causeExpired, causeCut, causeInterval})
	return lists
}
