package mirror

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/spillway-k8s/spillway/internal/counters"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// newWrites registers the counter of writes. A nil registerer registers nothing.
func newWrites(registerer prometheus.Registerer) *prometheus.CounterVec {
	writes := promauto.With(registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "spillway_vnode_mirror_writes_total",
		Help: "Copies in the cloud that were created, updated or deleted, by kind.",
	}, []string{"kind", "operation"})
	counters.Start(writes, counters.Values(kinds()...), []string{created, updated, deleted})
	return writes
}

// kinds are the kinds of copies.
func kinds() []identity.MirrorKind {
	return []identity.MirrorKind{
		identity.MirrorConfigMap, identity.MirrorSecret, identity.MirrorToken, identity.MirrorClaim,
	}
}

// registerCount registers the number of copies of each kind. The copies are counted when the metrics are collected.
func (m *Mirrors) registerCount(registerer prometheus.Registerer) {
	for _, kind := range kinds() {
		promauto.With(registerer).NewGaugeFunc(prometheus.GaugeOpts{
			Name: "spillway_vnode_mirrors", Help: "Copies in the cloud of objects that Pods refer to, by kind.",
			ConstLabels: prometheus.Labels{"kind": string(kind)},
		}, func() float64 { return float64(m.count(kind)) })
	}
}

// count returns the number of copies of a kind in the cloud.
func (m *Mirrors) count(kind identity.MirrorKind) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	count := 0
	for mirror, e := range m.entries {
		if mirror.Kind == kind && e.exists.Load() {
			count++
		}
	}
	return count
}
