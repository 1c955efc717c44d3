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

// maxResponseSize limits what is read of one response, in bytes.
const maxResponseSize = 8 << 20

// The metrics of the exporter, which have the names of cAdvisor. Source: CCI manual, "Pod resource metrics".
const (
	metricCPU        = "container_cpu_usage_seconds_total"
	metricWorkingSet = "container_memory_working_set_bytes"
	metricRSS        = "container_memory_rss"
	metricMemory     = "container_memory_usage_bytes"
)

// containerLabels are the labels that may contain the name of the container. The manual does not document the label.
// cAdvisor uses the first one today and used the second one in the past.
var containerLabels = []string{"container", "container_name"}

// scrape reads the exporter of a Pod. It returns an error if CPU or memory of any container is missing.
func scrape(ctx context.Context, client *http.Client, target Target) (map[string]ContainerUsage, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+target.Address+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("creating the request: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the exporter answered %s", response.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(io.LimitReader(response.Body, maxResponseSize))
	if err != nil {
		return nil, fmt.Errorf("parsing the answer of the exporter: %w", err)
	}
	return usageOf(families, target)
}

// usageOf returns the usage of each container of a Pod.
func usageOf(families map[string]*dto.MetricFamily, target Target) (map[string]ContainerUsage, error) {
	cpu, workingSet := byContainer(families[metricCPU], target), byContainer(families[metricWorkingSet], target)
	rss, memory := byContainer(families[metricRSS], target), byContainer(families[metricMemory], target)
	all := map[string]ContainerUsage{}
	for name := range target.Containers {
		seconds, hasCPU := cpu[name]
		bytes, hasMemory := workingSet[name]
		if !hasCPU || !hasMemory {
			return nil, fmt.Errorf("the exporter does not report %s and %s of container %s",
				metricCPU, metricWorkingSet, name)
		}
		all[name] = ContainerUsage{
			CPU: seconds, WorkingSet: uint64(bytes), RSS: optional(rss, name), Memory: optional(memory, name),
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no container is running")
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

// byContainer returns the sum of the series of each container of the Pod, because there can be one series for each
// core. If no series has the name of a container, and the Pod has only one container, all series belong to that
// container.
func byContainer(family *dto.MetricFamily, target Target) map[string]float64 {
	named, unnamed, found := map[string]float64{}, 0.0, false
	for _, metric := range family.GetMetric() {
		value := valueOf(metric)
		if value < 0 || value != value { // Not a number.
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

// valueOf returns the value of a counter, a gauge or an untyped metric.
func valueOf(metric *dto.Metric) float64 {
	switch {
	case metric.Counter != nil:
		return metric.Counter.GetValue()
	case metric.Gauge != nil:
		return metric.Gauge.GetValue()
	}
	return metric.GetUntyped().GetValue()
}
