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
	// pageSize is how many Pods a list takes at once.
	pageSize = 500
	// mostCuts is after how many watches in a row that brought nothing a list is made: the version may be the trouble.
	mostCuts = 5
	// shortWatch is what a watch must have lasted to count, when it brought nothing.
	shortWatch = time.Second
	// longestDelay is between two tries at most, before jitter.
	longestDelay = 30 * time.Second
)

// Why a list is made (label cause).
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
			retry.after(ctx, err)
			continue
		}
		retry = i.newRetry()
		i.setErr(nil)
		cause = i.follow(ctx, version)
	}
	return nil
}

// list takes all pages. An incomplete list is an error and changes nothing.
func (i *Inventory) list(ctx context.Context) (version string, err error) {
	options := cci.ListOptions{LabelSelector: i.config.Owner.Selector(), Limit: pageSize}
	var all []cci.Pod
	for {
		page, err := i.config.API.ListPods(ctx, i.config.Namespace, options)
		if err != nil {
			return "", fmt.Errorf("listing: %w", err)
		}
		all = append(all, page.Items...)
		if page.Continue == "" {
			version = page.ResourceVersion
			break
		}
		options.Continue = page.Continue
	}
	i.replace(all)
	select {
	case <-i.synced:
	default:
		close(i.synced)
	}
	return version, nil
}

// follow watches from a version on, again and again, until a list is due, and says why it is.
func (i *Inventory) follow(ctx context.Context, version string) (cause string) {
	due := time.Now().Add(i.config.RelistInterval)
	retry := i.newRetry()
	for cuts := 0; ctx.Err() == nil; {
		start := time.Now()
		reached, err := i.watch(ctx, version)
		fruitful := reached != version || (err == nil && time.Since(start) >= shortWatch)
		version = reached
		switch {
		case cci.IsExpired(err):
			return causeExpired
		case time.Now().After(due):
			return causeInterval
		case fruitful:
			cuts, retry = 0, i.newRetry()
		default:
			cuts++
		}
		if cuts >= mostCuts {
			return causeCut
		}
		if err != nil || !fruitful {
			retry.after(ctx, err)
		}
	}
	return ""
}

// watch takes changes until the stream ends, and returns the version it has reached. A proper end is no error.
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
			i.apply(event.Pod, Present)
		case watch.Deleted:
			i.apply(event.Pod, Gone)
		}
		if event.Pod.ResourceVersion != "" {
			version = event.Pod.ResourceVersion
		}
	}
}

// retry paces what fails.
type retry struct {
	inventory *Inventory
	backoff   wait.Backoff
}

func (i *Inventory) newRetry() *retry {
	return &retry{i, wait.Backoff{Duration: i.config.MinRetryInterval, Factor: 2, Jitter: 0.5, Steps: 20, Cap: longestDelay}}
}

// after notes the error and blocks until the next try, or until ctx ends. A cut watch is everyday; what lasts is shown by Err.
func (r *retry) after(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		r.inventory.setErr(err)
		r.inventory.config.Logger.Warn("the list or watch of cloud pods failed and will be tried again", "err", err)
	}
	timer := time.NewTimer(max(r.backoff.Step(), cci.RetryAfter(err)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
