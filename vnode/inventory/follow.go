package inventory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

const (
	// pageSize is the number of Pods in one page of a list.
	pageSize = 500
	// maxEmptyWatches is the number of watches in a row without an event after which the Pods are listed again: the
	// resource version may be the problem.
	maxEmptyWatches = 5
	// minWatch is how long a watch without an event must have lasted to count as a success.
	minWatch = time.Second
	// maxRetryInterval bounds the time between two attempts, before jitter.
	maxRetryInterval = 30 * time.Second
)

// Why the Pods are listed: values of the label cause.
const (
	causeStart    = "start"
	causeExpired  = "expired"
	causeCut      = "cut"
	causeInterval = "interval"
)

// Run lists and watches until ctx ends. It blocks and returns nil.
func (i *Inventory) Run(ctx context.Context) error {
	cause := causeStart
	retry := i.newRetry()
	for ctx.Err() == nil {
		i.lists.WithLabelValues(cause).Inc()
		version, err := i.list(ctx)
		if err != nil {
			retry.wait(ctx, err)
			continue
		}
		retry = i.newRetry()
		i.setErr(nil)
		cause = i.follow(ctx, version)
	}
	return nil
}

// list reads all pages. An incomplete list is an error and changes nothing.
func (i *Inventory) list(ctx context.Context) (version string, err error) {
	fresh := newCopies()
	options := cci.ListOptions{LabelSelector: i.config.Owner.Selector(), Limit: pageSize}
	options.Keep = func(pod *cci.Pod) bool {
		if key, ok := i.config.Owner.Owns(pod); ok && fresh.size <= maxSize {
			fresh.set(key, newCopy(pod))
		}
		return false // The copies are all that is needed of the page.
	}
	err = cci.EachPage(options, func(options cci.ListOptions) (string, int, error) {
		page, err := i.config.API.ListPods(ctx, i.config.Namespace, options)
		if err != nil {
			return "", 0, err
		}
		version = page.ResourceVersion
		return page.Continue, page.Objects, fresh.check()
	})
	if err != nil {
		return "", fmt.Errorf("listing: %w", err)
	}
	i.replace(fresh)
	select {
	case <-i.synced:
	default:
		close(i.synced)
	}
	return version, nil
}

// follow watches from a version on, in one watch after another, until the Pods must be listed again. It returns the
// cause.
func (i *Inventory) follow(ctx context.Context, version string) (cause string) {
	due := i.config.Now().Add(i.config.RelistInterval)
	retry := i.newRetry()
	for empty := 0; ctx.Err() == nil; {
		start := i.config.Now()
		reached, err := i.watch(ctx, version)
		succeeded := reached != version || (err == nil && i.config.Now().Sub(start) >= minWatch)
		version = reached
		switch {
		case cci.IsExpired(err):
			return causeExpired
		case i.config.Now().After(due):
			return causeInterval
		case succeeded:
			empty, retry = 0, i.newRetry()
		default:
			empty++
		}
		if empty >= maxEmptyWatches {
			return causeCut
		}
		if err != nil || !succeeded {
			retry.wait(ctx, err)
		}
	}
	return ""
}

// watch applies changes until the stream ends, and returns the version that it has reached. It returns no error if
// the service ends the stream properly.
func (i *Inventory) watch(ctx context.Context, version string) (reached string, err error) {
	stream, err := i.config.API.WatchPods(ctx, i.config.Namespace, cci.WatchOptions{
		LabelSelector: i.config.Owner.Selector(), ResourceVersion: version, Timeout: i.config.WatchTimeout,
	})
	if err != nil {
		return version, err
	}
	defer stream.Close()
	i.setErr(nil)
	for {
		event, err := stream.Next()
		if errors.Is(err, io.EOF) {
			return version, nil
		}
		if err != nil {
			return version, err
		}
		switch event.Type {
		case watch.Added, watch.Modified:
			err = i.apply(event.Pod, Present)
		case watch.Deleted:
			err = i.apply(event.Pod, Gone)
		}
		if err != nil {
			return version, err
		}
		if event.Pod.ResourceVersion != "" {
			version = event.Pod.ResourceVersion
		}
	}
}

// retry waits between attempts, longer each time.
type retry struct {
	inventory *Inventory
	backoff   wait.Backoff
}

func (i *Inventory) newRetry() *retry {
	return &retry{i, wait.Backoff{
		Duration: i.config.MinRetryInterval, Factor: 2, Jitter: 0.5, Steps: 20, Cap: maxRetryInterval,
	}}
}

// wait records the error and blocks until the next attempt is due or ctx ends. A watch that is cut is normal; Err
// shows an error that persists.
func (r *retry) wait(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		r.inventory.setErr(err)
		r.inventory.config.Logger.Warn("the list or watch of cloud pods failed and will be retried", "err", err)
	}
	timer := time.NewTimer(max(r.backoff.Step(), cci.RetryAfter(err)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
