package provider

import (
	"cmp"
	"maps"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/internal/prices"
	"github.com/spillway-k8s/spillway/policy/sizes"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

const (
	// maxCostNamespaces bounds the series of the costs: tenants may create and delete namespaces without end.
	maxCostNamespaces = 1000
	// otherNamespaces is the label of all namespaces beyond that. No namespace can have this name.
	otherNamespaces = "_others"
)

// costs are what Pods that have ended have cost, since this process took over the node.
type costs struct {
	mu    sync.Mutex
	ended map[string]*big.Rat
}

func (c *costs) add(namespace string, amount *big.Rat) {
	c.mu.Lock()
	defer c.mu.Unlock()
	addTo(c.ended, namespace, amount)
}

// addTo adds an amount to that of a namespace, or of the others if there are too many.
func addTo(sums map[string]*big.Rat, namespace string, amount *big.Rat) {
	if sums[namespace] == nil && len(sums) >= maxCostNamespaces {
		namespace = otherNamespaces
	}
	sums[namespace] = new(big.Rat).Add(cmp.Or(sums[namespace], new(big.Rat)), amount)
}

func (c *costs) snapshot() map[string]*big.Rat {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.ended)
}

// costOf returns what a Pod has cost that ends with a status. It returns nil without prices, for a status that is no
// end, and if the cloud Pod is not known or has not started.
func (p *Provider) costOf(key identity.Key, ended *corev1.PodStatus) *big.Rat {
	if p.config.Prices == nil || !translate.IsTerminal(ended.Phase) {
		return nil
	}
	cloud := cmp.Or(p.inventory.Get(key), p.state(key).last)
	if cloud == nil || cloud.Status.StartTime.IsZero() {
		return nil
	}
	family, size := billed(cloud)
	return p.config.Prices.Cost(family, size, p.endOf(ended).Sub(cloud.Status.StartTime.Time))
}

// billed returns what a cloud Pod is billed as.
func billed(cloud *cci.Pod) (sizes.Family, sizes.Flavor) {
	return sizes.FamilyOf(cloud.Annotations), translate.BilledSize(cloud)
}

// endOf returns when the last container has ended, or now if none says it.
func (p *Provider) endOf(status *corev1.PodStatus) time.Time {
	var last time.Time
	for _, s := range slices.Concat(status.InitContainerStatuses, status.ContainerStatuses) {
		if s.State.Terminated != nil && s.State.Terminated.FinishedAt.After(last) {
			last = s.State.Terminated.FinishedAt.Time
		}
	}
	if last.IsZero() {
		return p.config.Now()
	}
	return last
}

var (
	costDesc = prometheus.NewDesc("spillway_vnode_ended_pods_cost_total",
		"What the Pods of a namespace that have ended since this process took over the node have cost in the cloud, by "+
			"the configured prices. The namespace _others has all beyond 1000. Without prices there is none.",
		[]string{"namespace", "currency"}, nil)
	priceDesc = prometheus.NewDesc("spillway_vnode_price_per_hour",
		"What the Pods of a namespace that are in the cloud now cost for an hour, by the configured prices. The "+
			"namespace _others has all beyond 1000. Without prices there is none.",
		[]string{"namespace", "currency"}, nil)
)

// costCollector collects the costs. There must be prices.
type costCollector struct{ provider *Provider }

// Describe implements prometheus.Collector.
func (costCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- costDesc
	descs <- priceDesc
}

// Collect implements prometheus.Collector.
func (c costCollector) Collect(metrics chan<- prometheus.Metric) {
	table := c.provider.config.Prices
	perHour := map[string]*big.Rat{}
	for key, cloud := range c.provider.inventory.All() {
		if !translate.IsTerminal(cloud.Status.Phase) {
			addTo(perHour, key.Namespace, table.Hour(billed(cloud)))
		}
	}
	send(metrics, priceDesc, prometheus.GaugeValue, perHour, table)
	send(metrics, costDesc, prometheus.CounterValue, c.provider.costs.snapshot(), table)
}

func send(
	metrics chan<- prometheus.Metric, desc *prometheus.Desc, kind prometheus.ValueType, sums map[string]*big.Rat,
	table *prices.Table,
) {
	for namespace, sum := range sums {
		amount, _ := sum.Float64() // Prometheus has no exact numbers.
		metrics <- prometheus.MustNewConstMetric(desc, kind, amount, namespace, table.Currency())
	}
}
