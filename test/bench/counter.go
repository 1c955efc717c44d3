package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// readCounter reads a counter from the metrics of a program: the sum of those that have the label.
func readCounter(ctx context.Context, url, counter, label, value string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", nil)
	if err != nil {
		return 0, fmt.Errorf("reading the metrics at %s: %w", url, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("reading the metrics at %s: %w", url, err)
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return 0, fmt.Errorf("reading the metrics at %s (%s): %w", url, response.Status, err)
	}
	var sum float64 // Without a request there is no counter.
	for _, metric := range families[counter].GetMetric() {
		for _, l := range metric.GetLabel() {
			if l.GetName() == label && l.GetValue() == value {
				sum += metric.GetCounter().GetValue()
			}
		}
	}
	return int(sum), nil
}
