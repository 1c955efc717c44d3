package provider

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/spillway-k8s/spillway/internal/counters"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// metrics counts what happens to Pods.
type metrics struct {
	creation  prometheus.Histogram
	adopted   prometheus.Counter
	refused   *prometheus.CounterVec
	collected prometheus.Counter
	lost      prometheus.Counter
}

// newMetrics registers the metrics. A nil registerer registers nothing.
func newMetrics(registerer prometheus.Registerer) metrics {
	factory := promauto.With(registerer)
	counter := func(name, help string) prometheus.Counter {
		return factory.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := metrics{
		creation: factory.NewHistogram(prometheus.HistogramOpts{
			Name:    "spillway_vnode_pod_creation_seconds",
			Help:    "Time from when the node acknowledged a Pod until the cloud accepted its cloud Pod.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}),
		adopted: counter("spillway_vnode_pods_adopted_total",
			"Cloud Pods that already existed when they were to be created."),
		refused: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_vnode_pods_refused_total", Help: "Pods that cannot run in the cloud, by reason.",
		}, []string{"reason"}),
		collected: counter("spillway_vnode_pods_collected_total", "Cloud Pods deleted because their Pods were gone."),
		lost: counter("spillway_vnode_pods_lost_total",
			"Cloud Pods that disappeared without a request to delete them."),
	}
	counters.Start(m.refused, refusals())
	return m
}

// refusals are the reasons for which Pods are refused: those of the rules, those that hold a Pod, and those below.
func refusals() []string {
	reasons := slices.Concat(held, []policy.Reason{
		policy.ReasonLabelOff, policy.ReasonInvalid, policy.ReasonSchedulingGroup, policy.ReasonQuota,
		translate.ReasonUnsupported, ReasonRefused, ReasonMirrorLimit,
	})
	for _, rule := range policy.Rules() {
		reasons = append(reasons, rule.Reason)
	}
	return counters.Values(reasons...)
}

var podsDesc = prometheus.NewDesc("spillway_vnode_pods", "Pods of this node, by phase.", []string{"phase"}, nil)

// podCounter counts the Pods of the node by phase when the metrics are collected.
type podCounter struct{ provider *Provider }

// Describe implements prometheus.Collector.
func (podCounter) Describe(descs chan<- *prometheus.Desc) { descs <- podsDesc }

// Collect implements prometheus.Collector.
func (c podCounter) Collect(metrics chan<- prometheus.Metric) {
	counts := map[corev1.PodPhase]int{
		corev1.PodPending: 0, corev1.PodRunning: 0, corev1.PodSucceeded: 0, corev1.PodFailed: 0,
	}
	pods, err := c.provider.pods.List(labels.Everything())
	if err != nil {
		pods = nil // A lister returns only the error of its selector, and this selector has none.
	}
	for _, pod := range pods {
		counts[pod.Status.Phase]++
	}
	for phase, n := range counts {
		metrics <- prometheus.MustNewConstMetric(podsDesc, prometheus.GaugeValue, float64(n), string(phase))
	}
}
