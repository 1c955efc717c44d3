package record

import (
	"context"
	"errors"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// retry is the interval between retries while the API server is down. It is short, so that the Recorder misses little.
const retry = 50 * time.Millisecond

// source is a kind of object that can be listed and watched.
type source struct {
	list  func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
	// observe receives an object.
	observe func(object runtime.Object, as sighting) error
	// missing receives the objects that exist at a version. All others have been deleted unobserved.
	missing func(there map[types.UID]bool, version uint64)
}

// sighting is how an object was observed.
type sighting int

const (
	// changed: by a watch, which delivers every change.
	changed sighting = iota
	// listed: by a list, so earlier changes may be missing.
	listed
	// removed: the object was deleted, and this is its last state.
	removed
)

// follow lists and watches until ctx ends. If a watch cannot resume, follow lists again. All changes in between are
// then one change.
func follow(ctx context.Context, s source) error {
	version := ""
	for ctx.Err() == nil {
		var err error
		if version == "" {
			version, err = s.relist(ctx)
		} else {
			version, err = s.continueFrom(ctx, version)
		}
		var unreadable *unreadableError
		if errors.As(err, &unreadable) {
			return err
		}
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(retry):
			}
		}
	}
	return nil
}

// unreadableError is an error that a retry cannot resolve.
type unreadableError struct{ error }

func (s source) relist(ctx context.Context) (string, error) {
	list, err := s.list(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	accessor, err := meta.ListAccessor(list)
	if err != nil {
		return "", &unreadableError{err}
	}
	objects, err := meta.ExtractList(list)
	if err != nil {
		return "", &unreadableError{err}
	}
	there := map[types.UID]bool{}
	slices.SortFunc(objects, byVersion)
	for _, object := range objects {
		if err := s.observe(object, listed); err != nil {
			return "", &unreadableError{err}
		}
		there[object.(metav1.Object).GetUID()] = true
	}
	version := &metav1.ObjectMeta{Name: "the list", ResourceVersion: accessor.GetResourceVersion()}
	at, err := parseVersion(version)
	if err != nil {
		return "", &unreadableError{err}
	}
	s.missing(there, at)
	return version.ResourceVersion, nil
}

// byVersion orders the objects of a list by their last change. A version that is not a number is reported later.
func byVersion(a, b runtime.Object) int {
	left, _ := parseVersion(a.(metav1.Object))
	right, _ := parseVersion(b.(metav1.Object))
	return int(int64(left - right))
}

// continueFrom watches from a version and returns the last version observed. It is empty if only a new list helps.
func (s source) continueFrom(ctx context.Context, version string) (string, error) {
	watcher, err := s.watch(ctx, metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true})
	if err != nil {
		return "", err
	}
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		object, ok := event.Object.(metav1.Object)
		if event.Type == watch.Error || !ok {
			return "", nil
		}
		version = object.GetResourceVersion()
		if event.Type == watch.Bookmark {
			continue
		}
		as := changed
		if event.Type == watch.Deleted {
			as = removed
		}
		if err := s.observe(event.Object, as); err != nil {
			return "", &unreadableError{err}
		}
	}
	return version, nil
}
