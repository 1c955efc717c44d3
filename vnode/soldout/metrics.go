package soldout

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// newLocks registers the counter of locks. A nil registerer registers nothing.
func newLocks(registerer prometheus.Registerer) prometheus.Counter {
	return promauto.With(registerer).NewCounter(prometheus.CounterOpts{
		Name: "spillway_vnode_sold_out_locks_total", Help: "Locks of the node because the cloud was sold out.",
	})
}
