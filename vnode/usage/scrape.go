package usage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// largestAnswer bounds what is read of an exporter.
const largestAnswer = 8 << 20

// The exporter's metrics, which are cAdvisor's. Source: CCI manual, "Pod resource metrics".
const (
	metricCPU        = "container_cpu_usage_seconds_total"
	metricWorkingSet = "container_memory_working_set_bytes"
	metricRSS        = "container_memory_rss"
	metricMemory     = "container_memory_usage_bytes"
)

// containerLabels name the container of a series. The manual does not say which it is: these two are cAdvisor's, now and in the past.
var containerLabels = []string{"container", "container_name"}

// scrape asks the exporter of a Pod. An answer that lacks a container, or a figure of one, is an error.
func scrape(ctx context.Context, client *http.Client, target Target) (map[string]Use, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+target.Address+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the exporter answers %s", response.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(io.LimitReader(response.Body, largestAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading what the exporter answers: %w", err)
	}
	return uses(families, target)
}

// uses picks the figures of a Pod's containers.
func uses(families map[string]*dto.MetricFamily, target Target) (map[string]Use, error) {
	cpu, workingSet := byContainer(families[metricCPU], target), byContainer(families[metricWorkingSet], target)
	rss, memory := byContainer(families[metricRSS], target), byContainer(families[metricMemory], target)
	all := map[string]Use{}
	for name := range target.Containers {
		seconds, knowsCPU := cpu[name]
		bytes, knowsMemory := workingSet[name]
		if !knowsCPU || !knowsMemory {
			return nil, fmt.Errorf("the exporter has no %s and %s of container %s", metricCPU, metricWorkingSet, name)
		}
		all[name] = Use{CPU: seconds, WorkingSet: uint64(bytes), RSS: optional(rss, name), Memory: optional(memory, name)}
	}
	if len(all) == 0 {
		return nil, errors.New("no container runs")
	}
	return all, nil
}

func optional(values map[string]float64, name string) *uint64 {
	value, ok := values[name]
	if !ok {
		return nil
	}
	return new(uint64(value))
}

// byContainer adds up the series of each container of the Pod: there may be one for each core. Where no series names a container, and there is
// one container only, all are its.
func byContainer(family *dto.MetricFamily, target Target) map[string]float64 {
	named, unnamed, found := map[string]float64{}, 0.0, false
	for _, metric := range family.GetMetric() {
		value := valueOf(metric)
		if value < 0 || value != value {
			continue
		}
		name := containerOf(metric)
		if _, ours := target.Containers[name]; ours {
			named[name] += value
		} else if name == "" {
			unnamed, found = unnamed+value, true
		}
	}
	if len(named) == 0 && found && len(target.Containers) == 1 {
		for name := range target.Containers {
			named[name] = unnamed
		}
	}
	return named
}

func containerOf(metric *dto.Metric) string {
	for _, want := range containerLabels {
		for _, label := range metric.GetLabel() {
			if label.GetName() == want {
				return label.GetValue()
			}
		}
	}
	return ""
}

// valueOf reads a counter, a gauge, or what has no type.
func valueOf(metric *dto.Metric) float64 {
	switch {
	case metric.Counter != nil:
		return metric.Counter.GetValue()
	case metric.Gauge != nil:
		return metric.Gauge.GetValue()
	}
	return metric.GetUntyped().GetValue()
}
