package controllers

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// A Pod whose change failed is tried again after firstRetry, then at twice the time up to lastRetry. There is no limit for all
// Pods together: the client has one.
const (
	firstRetry = 10 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// loop gives the Pods that are put into its queue to reconcile, each to one worker at a time.
type loop struct {
	name      string
	workers   int
	resync    time.Duration
	reconcile func(context.Context, cache.ObjectName) error
	// backlog lists the Pods to look at now, whatever was missed: at the start, at every resync and when again is told.
	backlog func() []cache.ObjectName
	again   chan struct{}
	failed  func()
	logger  *slog.Logger
}

// queue holds the names of Pods, each once.
type queue = workqueue.TypedRateLimitingInterface[cache.ObjectName]

// open makes a queue for one run.
func (l *loop) open() queue {
	return workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.NewTypedItemExponentialFailureRateLimiter[cache.ObjectName](firstRetry, lastRetry),
		workqueue.TypedRateLimitingQueueConfig[cache.ObjectName]{Name: l.name})
}

// run works on the queue until ctx ends and returns when every worker has.
func (l *loop) run(ctx context.Context, q queue) {
	var group sync.WaitGroup
	for range l.workers {
		group.Go(func() {
			for l.work(ctx, q) {
			}
		})
	}
	ticker := time.NewTicker(l.resync)
	defer ticker.Stop()
	for ctx.Err() == nil {
		for _, name := range l.backlog() {
			q.Add(name)
		}
		select {
		case <-ctx.Done():
		case <-l.again:
		case <-ticker.C:
		}
	}
	q.ShutDown()
	group.Wait()
}

// lookAgain has the backlog looked at at once. It does not block and may be called at any time.
func (l *loop) lookAgain() {
	select {
	case l.again <- struct{}{}:
	default: // The next look is due already.
	}
}

// work handles one Pod; false ends the worker.
func (l *loop) work(ctx context.Context, q queue) bool {
	name, shutdown := q.Get()
	if shutdown {
		return false
	}
	defer q.Done(name)
	err := l.reconcile(ctx, name)
	switch {
	case err == nil:
		q.Forget(name)
		return true
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return true
	case apierrors.IsConflict(err): // The Pod has changed since: the usual case beside a scheduler and a kubelet.
		l.logger.Debug("trying again with the Pod as it is now", "controller", l.name, "pod", name.String())
	default:
		l.failed()
		l.logger.Warn("trying again", "controller", l.name, "pod", name.String(), "err", err)
	}
	q.AddRateLimited(name)
	return true
}
