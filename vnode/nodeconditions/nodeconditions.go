// Package nodeconditions shows problems between the virtual node and the cloud as conditions of the Node: rejected
// credentials, throttling, an unavailable cloud, a cloud namespace that is not ready, and APIs that the region does not
// offer. Pods only wait then, and the conditions tell administrators why. The Node stays Ready, because Pods in the
// cloud keep running.
package nodeconditions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/node"
)

const (
	// deniedWindow is how long a rejection, and an API that is not there, counts if the same operation is not retried.
	// Pods are retried every minute.
	deniedWindow = 5 * time.Minute
	// throttledWindow is the same for throttling, which is shorter.
	throttledWindow = time.Minute
	// unavailableAfter is how long every request must have failed before the cloud counts as unavailable.
	unavailableAfter = 30 * time.Second
	// maxMessage is the maximum length of a message of the service in a condition.
	maxMessage = 400
)

// Tracker keeps the results of requests to the cloud. It is safe for concurrent use.
type Tracker struct {
	now func() time.Time

	mu   sync.Mutex
	last map[string]outcome
	// lacking holds the features that the region does not offer, by the operations that have shown it. They have no
	// window: some operations are retried rarely.
	lacking map[string]cci.Feature
	// failingSince is since when every request has ended without an answer or with an error of the cloud itself, zero if
	// that is not so. failure is the message of the last of them.
	failingSince time.Time
	failure      string
	// namespaceErr is why the cloud namespace is not ready, empty if it is. It is valid once namespaceChecked is set.
	namespaceErr     string
	namespaceChecked bool
}

type outcome struct {
	kind cci.Kind
	// keyRejected says that the key was rejected, and not the operation.
	keyRejected bool
	message     string
	at          time.Time
}

// NewTracker returns a Tracker with a clock.
func NewTracker(now func() time.Time) *Tracker {
	return &Tracker{now: now, last: map[string]outcome{}, lacking: map[string]cci.Feature{}}
}

// Note records the result of one attempt of a request (cci.Config.Outcome).
func (t *Tracker) Note(operation string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	kind, now := cci.KindOf(err), t.now()
	if err != nil && kind == "" {
		return // The caller has canceled the request.
	}
	message := ""
	if err != nil {
		message = operation + ": " + truncate(err)
	}
	if err == nil {
		t.keyAcceptedLocked()
	}
	isLacking := t.noteFeatureLocked(operation, err)
	if isLacking || kind == cci.Denied && operation == cci.QuotasOperation && !isKeyRejected(err) {
		kind = "" // The virtual node can do without.
	}
	t.last[operation] = outcome{kind, isKeyRejected(err), message, now}
	switch {
	case kind != cci.Transient:
		t.failingSince = time.Time{}
	case t.failingSince.IsZero():
		t.failingSince = now
	}
	if kind == cci.Transient {
		t.failure = message
	}
}

// noteFeatureLocked records whether the region offers the feature of an operation, if it is one that the region may
// lack. One answer is enough for all operations of the feature.
func (t *Tracker) noteFeatureLocked(operation string, err error) (isLacking bool) {
	if answer, ok := errors.AsType[*cci.Error](err); ok && answer.Kind == cci.NotOffered && answer.Feature != "" {
		t.lacking[operation] = answer.Feature
		return true
	}
	if offered, known := t.lacking[operation]; known && err == nil {
		maps.DeleteFunc(t.lacking, func(_ string, feature cci.Feature) bool { return feature == offered })
	}
	return false
}

// NoteCloudNamespace records why the cloud namespace is not ready, nil if it is (cloudnamespace.Config.Report).
func (t *Tracker) NoteCloudNamespace(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.namespaceChecked, t.namespaceErr = true, ""
	if err != nil {
		t.namespaceErr = truncate(err)
	}
}

// truncate returns at most maxMessage characters of an error.
func truncate(err error) string { return fmt.Sprintf("%.*s", maxMessage, err.Error()) }

// isKeyRejected reports whether the gateway rejected the key.
func isKeyRejected(err error) bool {
	rejection, ok := errors.AsType[*cci.Error](err)
	return ok && rejection.Kind == cci.Denied && rejection.Status == http.StatusUnauthorized
}

// keyAcceptedLocked drops rejections of the key: a key that is valid for one operation is valid for all.
func (t *Tracker) keyAcceptedLocked() {
	for operation, o := range t.last {
		if o.keyRejected {
			delete(t.last, operation)
		}
	}
}

// condition is one condition of the Node.
type condition struct {
	kind    corev1.NodeConditionType
	holds   bool
	reason  string
	message string
}

// Types of the conditions. Pods that wait show them as their reasons.
const (
	// Denied: the cloud refuses the key, a permission, the agency or the account. An operator must act.
	Denied corev1.NodeConditionType = "CloudDenied"
	// Throttled: the cloud refused requests in the last minute because there were too many.
	Throttled corev1.NodeConditionType = "CloudThrottled"
	// Unavailable: all requests to the cloud have failed for half a minute.
	Unavailable corev1.NodeConditionType = "CloudUnavailable"
	// Unusable: the namespace or the network in the cloud is missing, has failed, or differs from the configuration. Or
	// the endpoint has no API for Pods.
	Unusable corev1.NodeConditionType = "CloudUnusable"
	// Lacking: the region does not offer an API that a virtual node can do without. It does less then. This is no fault,
	// and its name differs from those of the faults, so that no alert fires.
	Lacking corev1.NodeConditionType = "FeaturesMissing"
)

// Reasons of the conditions, of each type first the one of status True.
const (
	// ReasonRefused: CloudDenied is True.
	ReasonRefused = "Refused"
	// ReasonAccepted: CloudDenied is False.
	ReasonAccepted = "Accepted"
	// ReasonTooManyRequests: CloudThrottled is True.
	ReasonTooManyRequests = "TooManyRequests"
	// ReasonNotThrottled: CloudThrottled is False.
	ReasonNotThrottled = "NotThrottled"
	// ReasonNoAnswer: CloudUnavailable is True.
	ReasonNoAnswer = "NoAnswer"
	// ReasonAnswers: CloudUnavailable is False.
	ReasonAnswers = "Answers"
	// ReasonCloudNamespaceNotReady: CloudUnusable is True.
	ReasonCloudNamespaceNotReady = "CloudNamespaceNotReady"
	// ReasonCloudNamespaceReady: CloudUnusable is False.
	ReasonCloudNamespaceReady = "CloudNamespaceReady"
	// ReasonAPIMissing: CloudUnusable is True, because the endpoint has no API for Pods, namespaces or networks. The
	// region, the endpoint or the version is wrong.
	ReasonAPIMissing = "APIMissing"
	// ReasonNotOffered: FeaturesMissing is True.
	ReasonNotOffered = "NotOffered"
	// ReasonAllOffered: FeaturesMissing is False.
	ReasonAllOffered = "AllOffered"
)

// conditions returns the present conditions.
func (t *Tracker) conditions() []condition {
	t.mu.Lock()
	defer t.mu.Unlock()
	unavailable := condition{Unavailable, false, ReasonAnswers, "the cloud answers"}
	if !t.failingSince.IsZero() && t.now().Sub(t.failingSince) >= unavailableAfter {
		unavailable = condition{Unavailable, true, ReasonNoAnswer, t.failure}
	}
	all := []condition{
		t.recentLocked(cci.Denied, deniedWindow, condition{Denied, true, ReasonRefused, ""},
			condition{Denied, false, ReasonAccepted, "the cloud accepts the key and the account"}),
		t.recentLocked(cci.Throttled, throttledWindow, condition{Throttled, true, ReasonTooManyRequests, ""},
			condition{Throttled, false, ReasonNotThrottled, "the cloud accepts all requests"}),
		unavailable,
		t.featuresLocked(),
	}
	missing := t.recentLocked(cci.NotOffered, deniedWindow, condition{Unusable, true, ReasonAPIMissing, ""}, condition{})
	switch {
	case missing.holds:
		all = append(all, missing)
	case !t.namespaceChecked: // What an earlier process has written may still be true.
	case t.namespaceErr != "":
		all = append(all, condition{Unusable, true, ReasonCloudNamespaceNotReady, t.namespaceErr})
	default:
		all = append(all, condition{Unusable, false, ReasonCloudNamespaceReady,
			"the cloud namespace and its network are ready"})
	}
	return all
}

// featuresLocked returns the condition of the features that the region lacks.
func (t *Tracker) featuresLocked() condition {
	var names []string
	for _, feature := range t.lacking {
		names = append(names, string(feature))
	}
	if len(names) == 0 {
		return condition{Lacking, false, ReasonAllOffered, "the region offers every API that was used"}
	}
	slices.Sort(names)
	return condition{Lacking, true, ReasonNotOffered,
		"the region does not offer " + strings.Join(slices.Compact(names), ", ")}
}

// recentLocked returns bad, with the latest message, if the last result of an operation is of this kind and within the
// window. Otherwise it returns good.
func (t *Tracker) recentLocked(kind cci.Kind, window time.Duration, bad, good condition) condition {
	var latest outcome
	for _, o := range t.last {
		if o.kind == kind && t.now().Sub(o.at) < window && o.at.After(latest.at) {
			latest = o
		}
	}
	if latest.kind != kind {
		return good
	}
	bad.message = latest.message
	return bad
}

// Run writes the conditions to the Node when they change, until ctx ends. It blocks and returns nil. It retries
// errors at the next interval.
func (t *Tracker) Run(
	ctx context.Context, name string, nodes corev1client.NodeInterface, interval time.Duration, logger *slog.Logger,
) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := t.write(ctx, name, nodes); err != nil && ctx.Err() == nil {
			logger.Warn("failed to write the conditions of the node, will retry", "err", err)
		}
	}
}

func (t *Tracker) write(ctx context.Context, name string, nodes corev1client.NodeInterface) error {
	object, err := nodes.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil // It is not registered yet.
	}
	if err != nil {
		return fmt.Errorf("reading node %s: %w", name, err)
	}
	for _, c := range t.conditions() {
		if err := node.SetCondition(ctx, nodes, object, c.kind, c.holds, c.reason, c.message, t.now()); err != nil {
			return err
		}
	}
	return nil
}
