package ledger

import "github.com/prometheus/client_golang/prometheus"

// Collector exports the numbers of a Ledger as metrics.
type Collector struct {
	ledger                                         *Ledger
	pods, revisions, reservations, waiting, parked *prometheus.Desc
	cloudUsed, cloudLimit, cloudWaiting            *prometheus.Desc
	cloudPods, cloudCores, cloudMemory             *prometheus.Desc
	localWanted, localUsed, localMissing           *prometheus.Desc
}

// NewCollector returns the Collector of a Ledger.
func NewCollector(l *Ledger) *Collector {
	gauge := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("spillway_ledger_"+name, help, nil, nil)
	}
	byResource := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("spillway_ledger_"+name, help, []string{"namespace", "resource"}, nil)
	}
	byWorkload := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("spillway_ledger_"+name, help, []string{"namespace", "kind", "workload"}, nil)
	}
	return &Collector{
		ledger:       l,
		pods:         gauge("pods", "Number of Pods in the ledger."),
		revisions:    gauge("revisions", "Number of revisions with shares."),
		reservations: gauge("reservations", "Number of slots reserved for Pods whose binding has not been seen yet."),
		waiting: gauge("waiting_pods", "Number of Pods that wait because of their shares: for a local slot, for room "+
			"on local nodes, or for the cloud maximum."),
		parked: gauge("parked_pods",
			"Number of Pods that policy refused and that wait for a change of the switch."),
		cloudUsed: byResource("cloud_used", "What the Pods of a namespace with limits use in the cloud: pods, cpu in "+
			"cores and memory in bytes, in billed sizes."),
		cloudLimit: byResource("cloud_limit", "What the Pods of a namespace may use in the cloud, in the same units."),
		cloudWaiting: prometheus.NewDesc("spillway_ledger_cloud_waiting_pods",
			"Number of Pods that wait because of the limits of their namespace.", []string{"namespace"}, nil),
		cloudPods: byWorkload("cloud_pods", "Number of Pods in the cloud and of those that are about to be bound "+
			"there, by workload. kind and workload are empty for Pods of Jobs, bare Pods and others, and for those "+
			"beyond 500 workloads."),
		cloudCores:  byWorkload("cloud_cpu_cores", "Cores that the cloud bills, by workload as cloud_pods."),
		cloudMemory: byWorkload("cloud_memory_bytes", "Memory that the cloud bills, by workload as cloud_pods."),
		localWanted: byWorkload("local_wanted_pods", "Number of Pods that shares keep on local nodes: the most "+
			"that may be there, or else the least that must be, or all Pods of a revision if it has fewer. By "+
			"workload as cloud_pods."),
		localUsed: byWorkload("local_used_pods",
			"Number of local slots that Pods with shares have, by workload as cloud_pods."),
		localMissing: byWorkload("local_missing_pods", "Number of Pods that shares would keep on local nodes and "+
			"that have no slot: they wait, or are in the cloud. By workload as cloud_pods."),
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
	for _, a := range stats.Accounts {
		out <- prometheus.MustNewConstMetric(c.cloudWaiting, prometheus.GaugeValue, float64(a.Waiting), a.Namespace)
		for resource, used := range a.Used.Amounts() {
			out <- prometheus.MustNewConstMetric(c.cloudUsed, prometheus.GaugeValue, used, a.Namespace, resource)
		}
		for resource, limit := range a.Limits.Amounts() {
			out <- prometheus.MustNewConstMetric(c.cloudLimit, prometheus.GaugeValue, limit, a.Namespace, resource)
		}
	}
	for _, w := range stats.Workloads {
		c.collectWorkload(out, w)
	}
}

func (c *Collector) collectWorkload(out chan<- prometheus.Metric, w WorkloadStats) {
	show := func(desc *prometheus.Desc, value float64) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, w.Namespace, w.Kind, w.Name)
	}
	if w.Cloud.Pods > 0 {
		amounts := w.Cloud.Amounts()
		show(c.cloudPods, amounts["pods"])
		show(c.cloudCores, amounts["cpu"])
		show(c.cloudMemory, amounts["memory"])
	}
	if w.Local.Quota {
		show(c.localWanted, float64(w.Local.Wanted))
		show(c.localUsed, float64(w.Local.Used))
		show(c.localMissing, float64(w.Local.Missing))
	}
}
