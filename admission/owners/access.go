package owners

import (
	"context"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
)

// denied is how long objects of a kind are not read after the API server has refused it. Otherwise each creation of a
// Pod would cost a request without use.
const denied = 10 * time.Second

// access is whether objects of a further kind can be read. Pods of owners that cannot be read are created all the same:
// the label of the owner has no effect. A nil access is that of a kind of Kubernetes, which the program may read.
type access struct {
	resource schema.GroupVersionResource
	now      func() time.Time
	logger   *slog.Logger

	mu sync.Mutex
	// until is when reading is tried again.
	until time.Time
	// reported is the reason that was logged.
	reported metav1.StatusReason
}

// isDenied reports whether the API server has just refused to return objects.
func (a *access) isDenied() bool {
	if a == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now().Before(a.until)
}

// failed notes the result of a request and reports whether the program lacks the right for it.
func (a *access) failed(err error) bool {
	if a == nil {
		return false
	}
	if err == nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.reported = ""
		return false
	}
	if !apierrors.IsForbidden(err) {
		return false
	}
	a.report(err)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.until = a.now().Add(denied)
	return true
}

// watchFailed handles errors of the informer.
func (a *access) watchFailed(ctx context.Context, reflector *cache.Reflector, err error) {
	if !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
		cache.DefaultWatchErrorHandler(ctx, reflector, err)
		return
	}
	a.report(err)
}

// report logs why objects cannot be read, once until the reason changes.
func (a *access) report(err error) {
	reason := apierrors.ReasonForError(err)
	a.mu.Lock()
	defer a.mu.Unlock()
	if reason == a.reported {
		return
	}
	a.reported = reason
	remedy := "allow the ServiceAccount of admission to get, list and watch them (chart: admission.ownerKinds)"
	if reason == metav1.StatusReasonNotFound {
		remedy = "install the CustomResourceDefinition, or remove the kind from ownerKinds"
	}
	a.logger.Warn("burst labels of owners of a kind have no effect", "resource", a.resource.GroupResource().String(),
		"version", a.resource.Version, "err", err, "remedy", remedy)
}
