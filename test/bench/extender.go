package main

import (
	"context"

	"github.com/spillway-k8s/spillway/test/system"
)

// runningExtender is the extender of a case. If there is none, all fields but stop are empty.
type runningExtender struct {
	url string
	pid int
	// counter is the name of its metric that counts requests by verb.
	counter string
	stop    func() error
}

// startExtender starts the extender of a case. It first ends any other, which would use CPU time.
func (c *cluster) startExtender(ctx context.Context, a calling) (runningExtender, error) {
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

// calls reads from the extender's metrics how often filter was called.
func (e runningExtender) calls(ctx context.Context) (int, error) {
	if e.url == "" {
		return 0, nil
	}
	return readMetric(ctx, e.url, e.counter, "verb", "filter")
}
