package ledger

import "github.com/prometheus/client_golang/prometheus"

// Collector exports the numbers of a Ledger as metrics.
type Collector struct {
	ledger                                         *Ledger
	pods, revisions, reservations, waiting, parked *prometheus.Desc
}

// NewCollector returns the Collector of a Ledger.
func NewCollector(l *Ledger) *Collector {
	gauge := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("spillway_ledger_"+name, help, nil, nil)
	}
	return &Collector{
		ledger:       l,
		pods:         gauge("pods", "Number of Pods in the ledger."),
		revisions:    gauge("revisions", "Number of revisions with a local quota."),
		reservations: gauge("reservations", "Number of slots reserved for Pods whose binding has not been seen yet."),
		waiting:      gauge("waiting_pods", "Number of Pods that wait for a slot of their local quota."),
		parked:       gauge("parked_pods", "Number of Pods that policy refused and that wait for a change of the switch."),
	}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	stats := c.ledger.Stats()
	for desc, value := range map[*prometheus.Desc]int{
		c.pods: stats.Pods, c.revisions: stats.Revisions, c.reservations: stats.Reserved,
		c.waiting: stats.Waiting, c.parked: stats.Parked,
	} {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value))
	}
}
