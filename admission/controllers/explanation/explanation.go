// Package explanation tells users what Spillway does with their Pods and why, where the condition of the scheduler does
// not. A Pod that has to wait for a local node gets an Event with the reason. A Pod with a malformed key gets an Event
// about the key, wherever the Pod runs. A Pod whose quota is not kept because of its scheduling group gets a condition.
package explanation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/admission/controllers/podcache"
	"github.com/spillway-k8s/spillway/admission/controllers/podevents"
	"github.com/spillway-k8s/spillway/admission/controllers/reconciler"
	"github.com/spillway-k8s/spillway/internal/counters"
	"github.com/spillway-k8s/spillway/internal/evaluation"
	"github.com/spillway-k8s/spillway/internal/explain"
	"github.com/spillway-k8s/spillway/internal/schedulers"
	"github.com/spillway-k8s/spillway/policy"
)

const (
	// name is the name of the controller in logs and metrics.
	name    = "explain"
	workers = 16
)

// Evaluator evaluates Pods (internal/evaluation).
type Evaluator interface {
	// Evaluate may block for a bounded time.
	Evaluate(context.Context, *corev1.Pod) (evaluation.Result, error)
}

// Owners knows the labels of owners and namespaces (admission/owners).
type Owners interface {
	// InheritsMalformed reports whether a malformed key of an owner or of the namespace counts for the Pod. It must not
	// block.
	InheritsMalformed(*corev1.Pod) bool
	// CachedNamespace returns the annotations of a namespace whose keys are Spillway's, nil if they are not known. It
	// must not block.
	CachedNamespace(name string) map[string]string
	// OnChange calls changed with a namespace until stop is called. changed must not block.
	OnChange(changed func(namespace string)) (stop func() error, err error)
}

// Config holds what the controller works with. No field is optional.
type Config struct {
	Client    kubernetes.Interface
	Pods      *podcache.Pods
	Nodes     *podcache.VirtualNodes
	Evaluator Evaluator
	Owners    Owners
	// Events records the Events. The controller also removes from it the Pods that need no explanation any longer.
	Events *podevents.Recorder
	// Schedulers are those that call the extender.
	Schedulers schedulers.Schedulers
	// Resync is how often every such Pod is reconciled although nothing is known to have changed.
	Resync time.Duration
	// Trigger fires when the global switch changes.
	Trigger *reconciler.Trigger
	// Failures counts failed reconciliations (reconciler.NewFailures).
	Failures *prometheus.CounterVec
	// Now is the clock, for the times in conditions.
	Now    func() time.Time
	Logger *slog.Logger
}

// Controller explains Pods.
type Controller struct {
	Config
	explained *prometheus.CounterVec
}

// New returns the controller and registers its metrics. It starts nothing.
func New(c Config, registerer prometheus.Registerer) (*Controller, error) {
	explained := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "spillway_admission_pods_explained_total",
		Help: "Events that say why a Pod waits or which of its keys is malformed, by the reason of the policy.",
	}, []string{"reason"})
	if err := registerer.Register(explained); err != nil {
		return nil, fmt.Errorf("registering the metrics of controller %s: %w", name, err)
	}
	counters.Start(c.Failures, []string{name})
	return &Controller{Config: c, explained: explained}, nil
}

// Run runs the controller until ctx ends. It blocks. It may be called again afterwards.
func (c *Controller) Run(ctx context.Context) error {
	return reconciler.Run(ctx, reconciler.Config{
		Name: name, Workers: workers, Resync: c.Resync, Trigger: c.Trigger, Failures: c.Failures, Logger: c.Logger,
		Watch: c.watch, Reconcile: reconciler.Once(c.reconcile),
		Backlog: func() []cache.ObjectName { return c.Pods.Select(c.needsExplanation) },
	})
}

// needsExplanation reports whether there may be something to explain: the Pod waits, it or its owner has a malformed
// key, or it has a quota that is not kept because of its scheduling group.
func (c *Controller) needsExplanation(pod *corev1.Pod) bool {
	return podcache.IsWaiting(pod) || podcache.IsMalformed(pod) || podcache.HasGroupQuota(pod) ||
		(policy.IsActive(pod) && c.Owners.InheritsMalformed(pod))
}

func (c *Controller) watch(add func(cache.ObjectName)) (stop func() error, err error) {
	addWaiting := func(namespace string) {
		for _, pod := range c.Pods.Waiting(namespace) {
			add(pod)
		}
	}
	stopPods, err := c.Pods.Handle(cache.ResourceEventHandlerFuncs{
		AddFunc: func(pod any) { c.handle(pod, add) },
		UpdateFunc: func(before, after any) {
			c.handle(after, add)
			if namespace, ok := c.boundLocally(before, after); ok {
				addWaiting(namespace)
			}
		},
		DeleteFunc: c.handleDeletion,
	})
	if err != nil {
		return nil, err
	}
	stopOwners, err := c.Owners.OnChange(addWaiting)
	if err != nil {
		return nil, errors.Join(err, stopPods())
	}
	return func() error { return errors.Join(stopOwners(), stopPods()) }, nil
}

func (c *Controller) handle(object any, add func(cache.ObjectName)) {
	pod, ok := object.(*corev1.Pod)
	switch {
	case !ok:
	case c.needsExplanation(pod):
		add(cache.MetaObjectToName(pod))
	default:
		c.Events.Forget(pod.UID)
	}
}

// boundLocally returns the namespace of a Pod with shares that an update has bound to a local node. The Pod may have
// taken the last slot that other Pods wait for.
func (c *Controller) boundLocally(before, after any) (namespace string, ok bool) {
	was, okBefore := before.(*corev1.Pod)
	is, okAfter := after.(*corev1.Pod)
	if !okBefore || !okAfter || was.Spec.NodeName == is.Spec.NodeName || c.Nodes.Has(is.Spec.NodeName) {
		return "", false
	}
	has := policy.HasShares(is.Annotations) || policy.HasShares(c.Owners.CachedNamespace(is.Namespace))
	return is.Namespace, has
}

func (c *Controller) handleDeletion(object any) {
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = tombstone.Obj
	}
	if pod, ok := object.(*corev1.Pod); ok {
		c.Events.Forget(pod.UID)
	}
}

func (c *Controller) reconcile(ctx context.Context, name cache.ObjectName) error {
	pod := c.Pods.Get(name)
	if pod == nil || !c.needsExplanation(pod) {
		return nil
	}
	result, err := c.Evaluator.Evaluate(ctx, pod)
	if err != nil {
		return fmt.Errorf("evaluating the Pod: %w", err)
	}
	if len(result.Errors) > 0 {
		err = c.record(ctx, pod, podevents.Of(corev1.EventTypeWarning,
			policy.Malformed(result.Errors, result.Off, c.Nodes.Has(pod.Spec.NodeName))))
	}
	if podcache.HasGroupQuota(pod) {
		err = errors.Join(err, c.updateCondition(ctx, pod, result))
	}
	if event, ok := c.waitingEvent(pod, result); ok {
		err = errors.Join(err, c.record(ctx, pod, event))
	}
	return err
}

// record records an Event about the Pod. It counts the Event if it is new.
func (c *Controller) record(ctx context.Context, pod *corev1.Pod, event podevents.Event) error {
	created, err := c.Events.Record(ctx, pod, event)
	if created {
		c.explained.WithLabelValues(string(event.Reason)).Inc()
	}
	return err
}

// waitingEvent says why a Pod waits; ok is false if the Pod does not wait or if other Events or the condition of the
// scheduler say all.
func (c *Controller) waitingEvent(pod *corev1.Pod, result evaluation.Result) (podevents.Event, bool) {
	if !podcache.IsWaiting(pod) {
		return podevents.Event{}, false
	}
	if at := result.BurstsAt(pod); result.MayBurst() && !result.NeedsExtender() && c.Now().Before(at) &&
		!policy.ToleratesProvider(&pod.Spec) && !c.Schedulers.Place(&pod.Spec) {
		return podevents.Of(corev1.EventTypeNormal, policy.BurstAfter(at)), true
	}
	message, ok := explain.WhyWaiting(pod, result, &c.Schedulers, func() bool {
		all, local := c.Pods.Replicas(policy.RevisionOf(pod), c.Nodes)
		return local >= result.Shares.LocalCap(all)
	})
	if !ok {
		return podevents.Event{}, false
	}
	kind := corev1.EventTypeNormal
	switch message.Code {
	case policy.ReasonOtherScheduler, policy.ReasonNotCounted:
		kind = corev1.EventTypeWarning
	case result.Reason:
		if result.StaysLocal() {
			kind = corev1.EventTypeWarning
		}
	}
	return podevents.Of(kind, message), true
}
