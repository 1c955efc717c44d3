package ledger

import "github.com/prometheus/client_golang/prometheus"

// Collector shows the ledger as metrics.
type Collector struct {
	ledger                                       *Ledger
	pods, revisions, reservations, waiting, held *prometheus.Desc
}

// NewCollector makes the Collector of a Ledger.
func NewCollector(l *Ledger) *Collector {
	gauge := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("spillway_ledger_"+name, help, nil, nil)
	}
	return &Collector{
		ledger:       l,
		pods:         gauge("pods", "Pods that the ledger knows."),
		revisions:    gauge("revisions", "Revisions with a local quota."),
		reservations: gauge("reservations", "Slots that are promised to Pods whose binding is not seen yet."),
		waiting:      gauge("waiting_pods", "Pods that wait for a slot of their quota."),
		held:         gauge("parked_pods", "Pods that wait for a change of policy."),
	}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	stats := c.ledger.Stats()
	for desc, value := range map[*prometheus.Desc]int{
		c.pods: stats.Pods, c.revisions: stats.Revisions, c.reservations: stats.Reserved, c.waiting: stats.Waiting, c.held: stats.Parked,
	} {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value))
	}
}
