package usage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

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
		return nil, fmt.Errorf("the exporter answered %.100s", response.Status)
	}
	found, err := parse(response.Body, target)
	if err != nil {
		return nil, fmt.Errorf("parsing the answer of the exporter: %w", err)
	}
	return found.usage(target)
}

// usage returns the usage of each container of a Pod.
func (a answer) usage(target Target) (map[string]ContainerUsage, error) {
	cpu, workingSet := a[metricCPU].byContainer(target), a[metricWorkingSet].byContainer(target)
	rss, memory := a[metricRSS].byContainer(target), a[metricMemory].byContainer(target)
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
