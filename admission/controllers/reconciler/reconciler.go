// Package reconciler runs the controllers of Pods. It passes the Pods that a controller selects to its reconcile
// function, retries what failed, and regularly reconciles the whole backlog, so that a start, a new leader and a missed
// event need no special treatment.
package reconciler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/worker"
)

// FieldManager is the field manager of the patches that the controllers send.
const FieldManager = "spillway-admission"

// A Pod whose reconciliation failed is retried after minRetryInterval, then at twice the interval up to
// maxRetryInterval. There is no rate limit for all Pods together, because the client has one.
const (
	minRetryInterval = 10 * time.Millisecond
	maxRetryInterval = 30 * time.Second
)

// Config describes one controller.
type Config struct {
	// Name is the name of the controller in logs and metrics.
	Name string
	// Workers is how many Pods are reconciled at once. A Pod is reconciled by one worker at a time.
	Workers int
	// Resync is how often the backlog is reconciled although nothing is known to have changed.
	Resync time.Duration
	// Reconcile brings one Pod to its desired state. It may be called for a Pod that is gone. It is called again after
	// the time that it returns, if that is above zero.
	Reconcile func(context.Context, cache.ObjectName) (again time.Duration, err error)
	// Backlog lists the Pods that may need a change. Every Pod of it is reconciled at the start of Run, at every Resync
	// and when Trigger fires.
	Backlog func() []cache.ObjectName
	// Watch calls add for every Pod that may need a change because of an event, until stop is called.
	Watch func(add func(cache.ObjectName)) (stop func() error, err error)
	// Trigger requests a reconciliation of the backlog.
	Trigger *Trigger
	// Failures counts failed reconciliations by controller (NewFailures).
	Failures *prometheus.CounterVec
	Logger   *slog.Logger
}

// NewFailures returns the counter of failed reconciliations and registers it. Registering it twice is an error.
func NewFailures(registerer prometheus.Registerer) (*prometheus.CounterVec, error) {
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "spillway_admission_reconcile_failures_total",
		Help: "Failed reconciliations by controller. They are retried. Conflicts do not count.",
	}, []string{"controller"})
	if err := registerer.Register(failures); err != nil {
		return nil, fmt.Errorf("registering the metrics of the controllers: %w", err)
	}
	return failures, nil
}

// Trigger requests a reconciliation of a backlog. The zero value is not usable.
type Trigger struct{ requested chan struct{} }

// NewTrigger returns a Trigger.
func NewTrigger() *Trigger { return &Trigger{requested: make(chan struct{}, 1)} }

// Fire requests a reconciliation of the backlog as soon as possible. It does not block and may be called at any time,
// also before the controller runs.
func (t *Trigger) Fire() {
	select {
	case t.requested <- struct{}{}:
	default: // A request is pending already.
	}
}

// Once returns the Reconcile of a controller that does not ask to be called again.
func Once(
	reconcile func(context.Context, cache.ObjectName) error,
) func(context.Context, cache.ObjectName) (time.Duration, error) {
	return func(ctx context.Context, pod cache.ObjectName) (time.Duration, error) { return 0, reconcile(ctx, pod) }
}

// Run runs the controller until ctx ends. It blocks until every worker has ended. It may be called again afterwards.
func Run(ctx context.Context, c Config) error {
	loop, err := worker.New(worker.Config[cache.ObjectName]{
		Name: c.Name, Workers: c.Workers, Namespace: func(pod cache.ObjectName) string { return pod.Namespace },
		MinRetryInterval: minRetryInterval, MaxRetryInterval: maxRetryInterval,
		Reconcile: c.Reconcile, Failed: c.failed,
	})
	if err != nil {
		return err
	}
	stop, err := c.Watch(loop.Add)
	if err != nil {
		return fmt.Errorf("starting controller %s: %w", c.Name, err)
	}
	feeding := make(chan struct{})
	go func() {
		defer close(feeding)
		c.feed(ctx, loop.Add)
	}()
	err = loop.Run(ctx)
	<-feeding
	return errors.Join(err, stop())
}

// feed adds the backlog whenever it is due, until ctx ends.
func (c Config) feed(ctx context.Context, add func(cache.ObjectName)) {
	ticker := time.NewTicker(c.Resync)
	defer ticker.Stop()
	for ctx.Err() == nil {
		for _, pod := range c.Backlog() {
			add(pod)
		}
		select {
		case <-ctx.Done():
		case <-c.Trigger.requested:
		case <-ticker.C:
		}
	}
}

// failed logs and counts a failure. A conflict does not count: conflicts are common, because the scheduler and the
// kubelet change the Pod too.
func (c Config) failed(pod cache.ObjectName, failures int, delay time.Duration, err error) {
	if apierrors.IsConflict(err) {
		c.Logger.Debug("a Pod has changed and is reconciled again",
			"controller", c.Name, logging.Pod(pod.Namespace, pod.Name, ""))
		return
	}
	c.Failures.WithLabelValues(c.Name).Inc()
	c.Logger.Warn("reconciling a Pod failed and is retried",
		"controller", c.Name, logging.Pod(pod.Namespace, pod.Name, ""), "failures", failures, "retryAfter", delay,
		"err", err)
}
