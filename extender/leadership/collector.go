package leadership

import "github.com/prometheus/client_golang/prometheus"

// NewCollector returns a metric that shows whether this process leads.
func NewCollector(e *Election) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "spillway_extender_leader",
		Help: "1 while this process is the leader and answers the scheduler, 0 otherwise.",
	}, func() float64 {
		if _, err := e.Term(); err != nil {
			return 0
		}
		return 1
	})
}
