// Package worker reconciles keys from a queue. It is the one loop of all programs: client-go's workqueue, with a retry
// interval for each key, with the delays that a cloud asks for (Retry-After), and with turns for namespaces, so that
// the keys of one do not delay those of the others.
//
// It is not a controller: it watches nothing and knows no objects. docs/decisions/worker-loop.md says why Spillway does
// not use the controllers of controller-runtime.
package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"

	"github.com/spillway-k8s/spillway/internal/fairness"
)

// ErrNotYet is returned by Reconcile together with a delay when it is too early to try a key again. It counts neither
// as a success nor as a failure: the next failure waits as long as it would have without it.
var ErrNotYet = errors.New("too early to retry")

// Config is what a Loop needs. All fields must be set unless their comment says otherwise.
type Config[K comparable] struct {
	// Name is the name of the queue in errors.
	Name string
	// Workers is how many keys are reconciled at the same time. One key is never reconciled by two workers at once.
	Workers int
	// Namespace returns the namespace of a key. Namespaces take turns, and one alone does not keep all workers busy, if
	// there are five or more.
	Namespace func(key K) string
	// Reconcile handles one key. It may block. Its context has the key's namespace (see package fairness). After a
	// success the key is reconciled again after requeueAfter, if that is above zero. After an error, it is retried with an
	// exponential backoff. An error after the context has ended is ignored.
	Reconcile func(ctx context.Context, key K) (requeueAfter time.Duration, err error)
	// MinRetryInterval is the delay after the first failure of a key. It doubles with each failure, up to
	// MaxRetryInterval.
	MinRetryInterval, MaxRetryInterval time.Duration
	// RetryAfter returns the delay that an error asks for, zero if it asks for none. The longer of both delays counts.
	// Optional.
	RetryAfter func(err error) time.Duration
	// Failed is called after each failure with the number of failures in a row and the delay until the next attempt. It is
	// the place to log. Optional.
	Failed func(key K, failures int, delay time.Duration, err error)
}

// Loop reconciles keys. Create one with New. Close it, unless Run has been called.
type Loop[K comparable] struct {
	config   Config[K]
	queue    workqueue.TypedDelayingInterface[K]
	failures workqueue.TypedRateLimiter[K]
}

// New checks the configuration. It starts nothing but a timer, which Close and Run end.
func New[K comparable](config Config[K]) (*Loop[K], error) {
	switch {
	case config.Reconcile == nil || config.Namespace == nil:
		return nil, fmt.Errorf("creating the worker loop %q: Reconcile and Namespace must be set", config.Name)
	case config.Workers <= 0:
		return nil, fmt.Errorf("creating the worker loop %q: invalid number of workers %d: must be above zero",
			config.Name, config.Workers)
	case config.MinRetryInterval <= 0 || config.MaxRetryInterval < config.MinRetryInterval:
		return nil, fmt.Errorf("creating the worker loop %q: invalid retry intervals %s to %s: "+
			"must be above zero, the longest no shorter than the shortest",
			config.Name, config.MinRetryInterval, config.MaxRetryInterval)
	}
	if config.RetryAfter == nil {
		config.RetryAfter = func(error) time.Duration { return 0 }
	}
	if config.Failed == nil {
		config.Failed = func(K, int, time.Duration, error) {}
	}
	return &Loop[K]{
		config: config,
		queue: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[K]{
			Queue: newQueue(config.Workers, config.Namespace),
		}),
		failures: workqueue.NewTypedItemExponentialFailureRateLimiter[K](
			config.MinRetryInterval, config.MaxRetryInterval),
	}, nil
}

// Add queues a key. It does not block. A key that is already queued is reconciled once; a key that is being reconciled
// is reconciled again afterwards. It may be called before Run.
func (l *Loop[K]) Add(key K) { l.queue.Add(key) }

// AddAfter queues a key after a delay. It does not block.
func (l *Loop[K]) AddAfter(key K, delay time.Duration) { l.queue.AddAfter(key, delay) }

// Run reconciles keys until ctx ends, and returns nil when all workers have ended. It blocks. Call it once.
func (l *Loop[K]) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	for range l.config.Workers {
		workers.Go(func() {
			for l.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	l.queue.ShutDown()
	workers.Wait()
	return nil
}

// Close ends what delays keys. Run does so too. It may be called again. It does not block.
func (l *Loop[K]) Close() { l.queue.ShutDown() }

// next reconciles one key. It returns false when the queue is shut down.
func (l *Loop[K]) next(ctx context.Context) bool {
	key, shutdown := l.queue.Get()
	if shutdown {
		return false
	}
	defer l.queue.Done(key)
	if ctx.Err() != nil {
		return true // The queue is about to be shut down.
	}
	delay, err := l.config.Reconcile(fairness.WithNamespace(ctx, l.config.Namespace(key)), key)
	switch {
	case ctx.Err() != nil:
		return true
	case errors.Is(err, ErrNotYet):
	case err != nil:
		delay = max(l.failures.When(key), l.config.RetryAfter(err))
		l.config.Failed(key, l.failures.NumRequeues(key), delay, err)
	default:
		l.failures.Forget(key)
		if delay <= 0 {
			return true
		}
	}
	l.queue.AddAfter(key, delay)
	return true
}
