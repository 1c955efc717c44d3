package leader

import "github.com/prometheus/client_golang/prometheus"

// NewCollector shows as a metric whether this process leads.
func NewCollector(e *Election) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "spillway_extender_leader",
		Help: "1 while this process is the extender that answers.",
	}, func() float64 {
		if _, err := e.Term(); err != nil {
			return 0
		}
		return 1
	})
}
