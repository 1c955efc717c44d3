package services

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spillway-k8s/spillway/internal/counters"
)

// metrics are the metrics of the server.
type metrics struct {
	registerer      prometheus.Registerer
	streams         *prometheus.GaugeVec
	events, bytes   *prometheus.CounterVec
	cutOff, refused *prometheus.CounterVec
}

// Causes of metrics.cutOff.
const (
	causeBlocked = "blocked"
	causeBehind  = "behind"
	causeLost    = "lost"
)

// Causes of metrics.refused.
const (
	causeToken     = "token"
	causeElsewhere = "elsewhere"
	causeRate      = "rate"
	causeRequest   = "request"
)

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		registerer: registerer,
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "spillway_vnode_services_streams",
			Help: "Open watches of Pods in the cloud, by the kind of their objects.",
		}, []string{"kind"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_vnode_services_events_total",
			Help: "Events that were sent to Pods in the cloud, by the kind of their objects.",
		}, []string{"kind"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_vnode_services_sent_bytes_total",
			Help: "Bytes of lists and watches that were sent to Pods in the cloud, before encryption, by the kind of their " +
				"objects.",
		}, []string{"kind"}),
		cutOff: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_vnode_services_cut_off_total",
			Help: "Streams that the server has ended because the Pod did not read what was sent (blocked), reads too slowly " +
				"(behind), or has to get everything again (lost).",
		}, []string{"cause"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_vnode_services_refused_total",
			Help: "Requests that the server of Services has refused: the token is not that of a Pod on its virtual nodes " +
				"(token), another process runs the virtual node (elsewhere), the Pod asks too often (rate), or for something " +
				"that the server does not have (request).",
		}, []string{"cause"}),
	}
	kinds := []string{kindService.name, kindEndpointSlice.name, kindNode.name, kindServiceCIDR.name}
	counters.Start(m.events, kinds)
	counters.Start(m.bytes, kinds)
	counters.Start(m.cutOff, []string{causeBlocked, causeBehind, causeLost})
	counters.Start(m.refused, []string{causeToken, causeElsewhere, causeRate, causeRequest})
	return m, m.register(m.streams, m.events, m.bytes, m.cutOff, m.refused)
}

// count counts the objects of a kind.
func (m *metrics) count(of *resources) error {
	return m.register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "spillway_vnode_services_objects",
		Help:        "Objects of the cluster that the server of Services has, by kind.",
		ConstLabels: prometheus.Labels{"kind": of.kind.name},
	}, func() float64 { return float64(of.count()) }))
}

func (m *metrics) register(collectors ...prometheus.Collector) error {
	for _, collector := range collectors {
		if err := m.registerer.Register(collector); err != nil {
			return fmt.Errorf("registering the metrics of the server of Services: %w", err)
		}
	}
	return nil
}
