// Package nodeconditions shows on the Node what is wrong between it and the cloud: a key or an account that is refused, throttling, silence, no place
// for Pods. A Pod then only waits; here an operator sees why. The Node stays Ready: what runs in the cloud goes on running.
package nodeconditions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
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
	// deniedFor is how long a refusal counts when the same operation is not tried again: Pods are retried each minute.
	deniedFor = 5 * time.Minute
	// throttledFor is the same for throttling, which comes and goes.
	throttledFor = time.Minute
	// silentFor is for how long every request must have failed before the cloud counts as unavailable.
	silentFor = 30 * time.Second
	// longest bounds the words of the service in a condition.
	longest = 400
)

// Tracker remembers how requests to the cloud ended.
type Tracker struct {
	now func() time.Time

	mu   sync.Mutex
	last map[string]outcome
	// failing is since when every request has ended without an answer, or with an error of the cloud's own; fault is the last of them.
	failing time.Time
	fault   string
	// place says what stands against the place of the Pods in the cloud, empty for nothing; it means something once seen is set.
	place string
	seen  bool
}

type outcome struct {
	kind cci.Kind
	// key says that the key was refused, not what was asked for.
	key     bool
	message string
	at      time.Time
}

// NewTracker makes a Tracker with a clock.
func NewTracker(now func() time.Time) *Tracker {
	return &Tracker{now: now, last: map[string]outcome{}}
}

// Note takes the end of one try of a request (cci.Config.Outcome).
func (t *Tracker) Note(operation string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	kind, now := cci.KindOf(err), t.now()
	if err != nil && kind == "" {
		return // The caller has gone.
	}
	message := ""
	if err != nil {
		message = fmt.Sprintf("%s: %.*s", operation, longest, err.Error())
	}
	if err == nil {
		t.keyAcceptedLocked()
	}
	t.last[operation] = outcome{kind, isKeyRefused(err), message, now}
	switch {
	case kind != cci.Transient:
		t.failing = time.Time{}
	case t.failing.IsZero():
		t.failing = now
	}
	if kind == cci.Transient {
		t.fault = message
	}
}

// NotePlace takes what stands against the place of the Pods in the cloud, nil for nothing (cloudnamespace.Config.Report).
func (t *Tracker) NotePlace(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen, t.place = true, ""
	if err != nil {
		t.place = fmt.Sprintf("%.*s", longest, err.Error())
	}
}

// isKeyRefused tells whether the gateway knew the key at all.
func isKeyRefused(err error) bool {
	fault, ok := errors.AsType[*cci.Error](err)
	return ok && fault.Kind == cci.Denied && fault.Status == http.StatusUnauthorized
}

// keyAcceptedLocked drops what was said of the key: one that is good for an operation is good for all.
func (t *Tracker) keyAcceptedLocked() {
	for operation, o := range t.last {
		if o.key {
			delete(t.last, operation)
		}
	}
}

// condition is one thing that can be wrong.
type condition struct {
	kind    corev1.NodeConditionType
	holds   bool
	reason  string
	message string
}

// Types of conditions. Pods that wait because of them have the same word as their reason.
const (
	// Denied: the cloud refuses the key, a permission, the agency or the account. An operator must act.
	Denied corev1.NodeConditionType = "CloudDenied"
	// Throttled: the cloud refused requests in the last minute because there were too many.
	Throttled corev1.NodeConditionType = "CloudThrottled"
	// Unavailable: all requests to the cloud have failed for half a minute.
	Unavailable corev1.NodeConditionType = "CloudUnavailable"
	// Unusable: the namespace or the network in the cloud is missing, has failed, or differs from the configuration.
	Unusable corev1.NodeConditionType = "CloudUnusable"
)

// conditions says how it stands.
func (t *Tracker) conditions() []condition {
	t.mu.Lock()
	defer t.mu.Unlock()
	silent := condition{Unavailable, false, "Answers", "the cloud answers"}
	if !t.failing.IsZero() && t.now().Sub(t.failing) >= silentFor {
		silent = condition{Unavailable, true, "NoAnswer", t.fault}
	}
	all := []condition{
		t.recentLocked(cci.Denied, deniedFor, condition{Denied, true, "Refused", ""}, condition{Denied, false, "Accepted", "the cloud accepts the key and the account"}),
		t.recentLocked(cci.Throttled, throttledFor, condition{Throttled, true, "TooManyRequests", ""}, condition{Throttled, false, "NotThrottled", "the cloud takes all requests"}),
		silent,
	}
	switch {
	case !t.seen: // What an earlier process has written may still be so.
	case t.place != "":
		all = append(all, condition{Unusable, true, "NoPlace", t.place})
	default:
		all = append(all, condition{Unusable, false, "PlaceReady", "the namespace and the network in the cloud are set up"})
	}
	return all
}

// recentLocked is bad, with the words of the latest, where an operation last ended with the kind and that is not too long ago.
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

// Run writes the conditions whenever they change, until ctx ends. It blocks and returns nil: what fails is tried at the next look.
func (t *Tracker) Run(ctx context.Context, name string, nodes corev1client.NodeInterface, interval time.Duration, logger *slog.Logger) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := t.write(ctx, name, nodes); err != nil && ctx.Err() == nil {
			logger.Warn("writing the node's conditions will be tried again", "node", name, "err", err)
		}
	}
}

func (t *Tracker) write(ctx context.Context, name string, nodes corev1client.NodeInterface) error {
	object, err := nodes.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil // It is not registered yet.
	}
	if err != nil {
		return fmt.Errorf("asking for node %s: %w", name, err)
	}
	for _, c := range t.conditions() {
		if err := node.SetCondition(ctx, nodes, object, c.kind, c.holds, c.reason, c.message, t.now()); err != nil {
			return err
		}
	}
	return nil
}
