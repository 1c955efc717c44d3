package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// readMetric returns the sum of a counter or gauge of a program, over all series with the label.
func readMetric(ctx context.Context, url, name, label, value string) (int, error) {
	text, err := get(ctx, url+"/metrics")
	if err != nil {
		return 0, err
	}
	sum, err := sumMetric(string(text), name, func(labels map[string]string) bool { return labels[label] == value })
	if err != nil {
		return 0, fmt.Errorf("reading the metrics at %s: %w", url, err)
	}
	return int(sum), nil
}

// get returns the body of a GET request.
func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("requesting %s: %w", url, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("requesting %s: %w", url, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("requesting %s: %s", url, response.Status)
	}
	return text, nil
}

// sumMetric returns the sum of the chosen series of a metric, or 0 if there are none.
func sumMetric(text, name string, choose func(labels map[string]string) bool) (float64, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return 0, fmt.Errorf("parsing metrics: %w", err)
	}
	sum := 0.0
	for _, metric := range families[name].GetMetric() {
		labels := map[string]string{}
		for _, l := range metric.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if choose(labels) {
			sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	return sum, nil
}
