package main

import (
	"context"

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
	return readMetric(ctx, e.url, e.counter, "verb", "filter")
}
