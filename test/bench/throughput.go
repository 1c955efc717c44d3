package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	schedulerv1 "k8s.io/kube-scheduler/config/v1"

	"github.com/spillway-k8s/spillway/test/system"
)

// bindingResult is the result of a case, with a measurement per round.
type bindingResult struct {
	throughputCase
	measurements []measurement
}

// measurement is one run in which all Pods of a case were bound.
type measurement struct {
	// rate is the number of Pods bound per second, from the first to the last.
	rate float64
	// calls is how often filter was called.
	calls int
	// cpu is the CPU time per Pod of all measured processes, including their start.
	cpu time.Duration
	// others is the share of the machine's CPUs that other work used meanwhile.
	others float64
}

// measureThroughput measures all cases once in each round. Each round begins with another case, so that a temporary
// slowdown of the machine affects all cases alike.
func measureThroughput(ctx context.Context, c *cluster, o options, out io.Writer) ([]bindingResult, error) {
	var results []bindingResult
	for _, tc := range throughputCases {
		if slices.Contains(o.Cases, tc.key) {
			results = append(results, bindingResult{throughputCase: tc})
		}
	}
	for round := range o.Rounds {
		for i := range results {
			r := &results[(round+i)%len(results)]
			m, err := c.schedule(ctx, r.throughputCase, o)
			if err != nil {
				return nil, fmt.Errorf("%s, round %d: %w", r.title, round+1, err)
			}
			r.measurements = append(r.measurements, m)
			fmt.Fprintf(out, "round %d of %d: %6.1f Pods/s, %s ms of CPU per Pod, %s of the machine used by others  %s\n",
				round+1, o.Rounds, m.rate, millis(m.cpu), percent(m.others), r.title)
		}
	}
	return results, nil
}

// schedule has the scheduler bind the Pods of a case and checks where they are. The cluster has no Pods before and
// afterwards.
func (c *cluster) schedule(ctx context.Context, tc throughputCase, o options) (m measurement, err error) {
	if _, err := c.createPods(ctx, tc.pods(o)); err != nil {
		return m, err
	}
	e, err := c.startExtender(ctx, tc.calling)
	if err != nil {
		return m, err
	}
	defer func() {
		err = errors.Join(err, c.end(system.Scheduler), e.stop(), c.deletePods(context.WithoutCancel(ctx)))
	}()
	if err := c.ConfigureScheduler(func(s *schedulerv1.KubeSchedulerConfiguration) {
		s.ClientConnection.QPS, s.ClientConnection.Burst = 5000, 10000 // The rate limit would otherwise be measured.
		tc.scheduler(s, e.url)
	}); err != nil {
		return m, err
	}
	if m, err = c.runScheduler(ctx, e, o); err != nil {
		return m, err
	}
	if m.calls, err = e.calls(ctx); err != nil {
		return m, err
	}
	pods, err := c.listPods(ctx)
	if err != nil {
		return m, err
	}
	return m, errors.Join(tc.check(o, pods), tc.checkCalls(o, m.calls))
}

// runScheduler starts the scheduler and waits until all Pods are bound. It returns the rate and the CPU time.
func (c *cluster) runScheduler(ctx context.Context, e runningExtender, o options) (m measurement, err error) {
	seen, err := watchBindings(ctx, c.metadata)
	if err != nil {
		return m, err
	}
	defer func() { seen.stop() }()
	if err := awaitCalm(ctx, o.Calm.Duration, c.pids(e)); err != nil {
		return m, err
	}
	before, err := measureUsage(c.pids(e))
	if err != nil {
		return m, err
	}
	if err := c.Restart(ctx, system.Scheduler); err != nil {
		return m, err
	}
	took, err := seen.await(ctx, o.Pods)
	if err != nil {
		return m, err
	}
	after, err := measureUsage(c.pids(e))
	if err != nil {
		return m, err
	}
	m.rate = float64(o.Pods-1) / took.Seconds()
	m.cpu, m.others = after.oursSince(before)/time.Duration(o.Pods), after.othersSince(before)
	return m, nil
}

// pids returns the processes whose CPU time is measured, including this one.
func (c *cluster) pids(e runningExtender) []int {
	pids := []int{os.Getpid(), c.PID(system.Etcd), c.PID(system.APIServer)}
	for _, pid := range []int{c.PID(system.Scheduler), e.pid} {
		if pid != 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}
