package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/spillway-k8s/spillway/test/system"
)

// runningExtender is the extender of a case. Where there is none, all is empty but stop.
type runningExtender struct {
	url string
	pid int
	// counter is the name of its metric of requests by verb.
	counter string
	stop    func() error
}

// startExtender starts the extender of a case, fresh, and ends any other, which would take time of the machine.
func (c *cluster) startExtender(ctx context.Context, a asking) (runningExtender, error) {
	none := runningExtender{stop: func() error { return nil }}
	if err := c.end(system.Extender); err != nil {
		return none, err
	}
	switch a {
	case noOpForAll:
		return startNoOp()
	case oursForNone, oursForAll:
		if err := c.Restart(ctx, system.Extender); err != nil {
			return none, err
		}
		return runningExtender{
			url: c.Endpoint(system.Extender), pid: c.PID(system.Extender), counter: "spillway_extender_requests_total",
			stop: func() error { return c.end(system.Extender) },
		}, nil
	default:
		return none, nil
	}
}

// asked reads from the extender's metrics how often it has answered filter.
func (e runningExtender) asked(ctx context.Context) (int, error) {
	if e.url == "" {
		return 0, nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url+"/metrics", nil)
	if err != nil {
		return 0, fmt.Errorf("reading the metrics of the extender: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("reading the metrics of the extender: %w", err)
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return 0, fmt.Errorf("reading the metrics of the extender at %s (%s): %w", e.url, response.Status, err)
	}
	var sum float64 // Without a request there is no counter.
	for _, metric := range families[e.counter].GetMetric() {
		for _, label := range metric.GetLabel() {
			if label.GetName() == "verb" && label.GetValue() == "filter" {
				sum += metric.GetCounter().GetValue()
			}
		}
	}
	return int(sum), nil
}
