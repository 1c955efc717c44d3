package usage

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// ServeSummary serves /stats/summary with CPU and memory only. Source: Kubernetes v1.36,
// staging/src/k8s.io/kubelet/pkg/apis/stats/v1alpha1/types.go.
func (c *Collector) ServeSummary(w http.ResponseWriter, r *http.Request) {
	samples, cpu := c.Samples(r.Context())
	content, err := json.Marshal(c.summary(samples, cpu))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(content) // An error means that the caller has disconnected.
}

func (c *Collector) summary(samples []*Sample, cpu float64) *stats.Summary {
	now := c.config.Now()
	summary := &stats.Summary{
		Node: stats.NodeStats{NodeName: c.config.NodeName, StartTime: metav1.NewTime(c.started)},
		Pods: []stats.PodStats{},
	}
	var node ContainerUsage
	var rate float64
	for _, sample := range samples {
		pod, podRate := podStats(sample)
		summary.Pods = append(summary.Pods, pod)
		_, workingSet := sample.total()
		node.WorkingSet += workingSet
		rate += podRate
	}
	if len(samples) > 0 {
		node.CPU = cpu
		summary.Node.CPU, summary.Node.Memory = cpuStats(now, node, &rate), memoryStats(now, node)
	}
	return summary
}

// podStats returns the statistics of a Pod, and the sum of the rates of its containers.
func podStats(sample *Sample) (pod stats.PodStats, rate float64) {
	target := sample.Target
	pod = stats.PodStats{
		PodRef:    stats.PodReference{Name: target.Name, Namespace: target.Namespace, UID: target.UID},
		StartTime: metav1.NewTime(target.Started),
	}
	for name, use := range sample.Containers {
		container := stats.ContainerStats{
			Name: name, StartTime: metav1.NewTime(target.Containers[name]), Memory: memoryStats(sample.At, use),
		}
		if own, known := sample.Rates[name]; known {
			container.CPU = cpuStats(sample.At, use, &own)
			rate += own
		} else {
			container.CPU = cpuStats(sample.At, use, nil)
		}
		pod.Containers = append(pod.Containers, container)
	}
	slices.SortFunc(pod.Containers, func(a, b stats.ContainerStats) int { return strings.Compare(a.Name, b.Name) })
	var total ContainerUsage
	total.CPU, total.WorkingSet = sample.total()
	podRate := &rate
	if len(sample.Rates) < len(sample.Containers) {
		podRate = nil
	}
	pod.CPU, pod.Memory = cpuStats(sample.At, total, podRate), memoryStats(sample.At, total)
	return pod, rate
}

// cpuStats returns CPU statistics, without a rate if rate is nil.
func cpuStats(at time.Time, use ContainerUsage, rate *float64) *stats.CPUStats {
	s := &stats.CPUStats{Time: metav1.NewTime(at), UsageCoreNanoSeconds: new(nanoseconds(use.CPU))}
	if rate != nil {
		s.UsageNanoCores = new(nanoseconds(*rate))
	}
	return s
}

// nanoseconds converts seconds. A sum of many containers can exceed 64 bits.
func nanoseconds(seconds float64) uint64 { return uint64(min(seconds*1e9, math.MaxInt64)) }

func memoryStats(at time.Time, use ContainerUsage) *stats.MemoryStats {
	return &stats.MemoryStats{
		Time: metav1.NewTime(at), WorkingSetBytes: &use.WorkingSet, RSSBytes: use.RSS, UsageBytes: use.Memory,
	}
}
