// Package toleration adds the toleration of virtual nodes to Pods for which no local node fits, as soon as they may
// burst, like the admission-controller of TKE Resilience. A toleration cannot be removed from a Pod, so a Pod that
// fits on a local node never gets it. A Pod that waits for room (policy.BurstAfterAnnotation) gets it at its deadline,
// unless the extender makes it wait.
package toleration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/admission/controllers/podcache"
	"github.com/spillway-k8s/spillway/admission/controllers/podevents"
	"github.com/spillway-k8s/spillway/admission/controllers/reconciler"
	"github.com/spillway-k8s/spillway/internal/counters"
	"github.com/spillway-k8s/spillway/internal/evaluation"
	"github.com/spillway-k8s/spillway/internal/explain"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/schedulers"
	"github.com/spillway-k8s/spillway/policy"
)

const (
	// name is the name of the controller in logs and metrics.
	name    = "tolerate"
	workers = 16
)

// Evaluator evaluates Pods (internal/evaluation).
type Evaluator interface {
	// Evaluate may block for a bounded time.
	Evaluate(context.Context, *corev1.Pod) (evaluation.Result, error)
}

// Owners reports changes of the labels of owners and namespaces (admission/owners).
type Owners interface {
	// OnChange calls changed with a namespace until stop is called. changed must not block.
	OnChange(changed func(namespace string)) (stop func() error, err error)
}

// Config holds what the controller works with. No field is optional.
type Config struct {
	Client    kubernetes.Interface
	Pods      *podcache.Pods
	Evaluator Evaluator
	Owners    Owners
	Events    *podevents.Recorder
	// Schedulers are those that call the extender.
	Schedulers schedulers.Schedulers
	// Resync is how often every waiting Pod is reconciled although nothing is known to have changed.
	Resync time.Duration
	// Trigger fires when the global switch changes.
	Trigger *reconciler.Trigger
	// Failures counts failed reconciliations (reconciler.NewFailures).
	Failures *prometheus.CounterVec
	// Now is the clock.
	Now    func() time.Time
	Logger *slog.Logger
}

// Controller adds tolerations.
type Controller struct {
	Config
	added *prometheus.CounterVec
}

// New returns the controller and registers its metrics. It starts nothing.
func New(c Config, registerer prometheus.Registerer) (*Controller, error) {
	added := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "spillway_admission_tolerations_added_total",
		Help: "Waiting Pods that got the toleration of virtual nodes, by the reason of the policy.",
	}, []string{"reason"})
	if err := registerer.Register(added); err != nil {
		return nil, fmt.Errorf("registering the metrics of controller %s: %w", name, err)
	}
	counters.Start(c.Failures, []string{name})
	counters.Start(added, counters.Values(policy.ReasonSwitchOn, policy.ReasonLabelEnforce,
		policy.ReasonLabelLocalPrefer, policy.ReasonLabelAuto, policy.ReasonNamespaceEnforce))
	return &Controller{Config: c, added: added}, nil
}

// Run runs the controller until ctx ends. It blocks. It may be called again afterwards.
func (c *Controller) Run(ctx context.Context) error {
	return reconciler.Run(ctx, reconciler.Config{
		Name: name, Workers: workers, Resync: c.Resync, Trigger: c.Trigger, Failures: c.Failures, Logger: c.Logger,
		Watch: c.watch, Reconcile: c.reconcile,
		Backlog: func() []cache.ObjectName { return c.Pods.Select(needsToleration) },
	})
}

// watch adds Pods that begin to wait, and all waiting Pods of a namespace where a label about bursting changes.
func (c *Controller) watch(add func(cache.ObjectName)) (stop func() error, err error) {
	handle := func(object any) {
		if pod, ok := object.(*corev1.Pod); ok && needsToleration(pod) {
			add(cache.MetaObjectToName(pod))
		}
	}
	stopPods, err := c.Pods.Handle(cache.ResourceEventHandlerFuncs{
		AddFunc: handle, UpdateFunc: func(_, pod any) { handle(pod) },
	})
	if err != nil {
		return nil, err
	}
	stopOwners, err := c.Owners.OnChange(func(namespace string) {
		for _, pod := range c.Pods.Waiting(namespace) {
			add(pod)
		}
	})
	if err != nil {
		return nil, errors.Join(err, stopPods())
	}
	return func() error { return errors.Join(stopOwners(), stopPods()) }, nil
}

func needsToleration(pod *corev1.Pod) bool {
	return podcache.IsWaiting(pod) && !policy.ToleratesProvider(&pod.Spec)
}

// reconcile returns how long the Pod still has to wait for room on local nodes.
func (c *Controller) reconcile(ctx context.Context, name cache.ObjectName) (again time.Duration, err error) {
	pod := c.Pods.Get(name)
	if pod == nil || !needsToleration(pod) {
		return 0, nil
	}
	result, err := c.Evaluator.Evaluate(ctx, pod)
	if err != nil {
		return 0, fmt.Errorf("evaluating the Pod: %w", err)
	}
	placed := c.Schedulers.Place(&pod.Spec)
	if !result.MayBurst() || result.NeedsExtender() && !placed {
		return 0, nil // Controller explanation tells the user why. Without the extender, nothing would keep the limits.
	}
	if wait := result.BurstsAt(pod).Sub(c.Now()); wait > 0 && !placed { // The extender knows who need not wait.
		return wait, nil
	}
	return 0, c.addToleration(ctx, pod, result)
}

func (c *Controller) addToleration(ctx context.Context, pod *corev1.Pod, result evaluation.Result) error {
	patch, err := tolerationPatch(pod, result)
	if err != nil {
		return err
	}
	_, err = c.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: reconciler.FieldManager})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("adding the toleration of virtual nodes: %w", err)
	}
	c.added.WithLabelValues(string(result.Reason)).Inc()
	c.Logger.Info("added the toleration of virtual nodes to a Pod",
		logging.Pod(pod.Namespace, pod.Name, pod.UID), "reason", string(result.Reason))
	for _, event := range c.tolerationEvents(pod, result) {
		if _, err := c.Events.Record(ctx, pod, event); err != nil {
			c.Logger.Warn("a Pod got the toleration of virtual nodes without an Event",
				logging.Pod(pod.Namespace, pod.Name, pod.UID), "err", err)
		}
	}
	return nil
}

// tolerationPatch applies only to the version of the Pod that was evaluated: if the Pod has changed, the patch fails
// with a conflict and the Pod is evaluated again. The patch also sets the burst label if the Pod takes its mode from
// its owner or its namespace, because virtual nodes read the labels of the Pod only. It removes the explanation why the
// Pod stays local.
func tolerationPatch(pod *corev1.Pod, result evaluation.Result) ([]byte, error) {
	metadata := map[string]any{"uid": pod.UID, "resourceVersion": pod.ResourceVersion}
	own, err := policy.ParseMode(pod.Labels)
	if err == nil && own == policy.ModeNone && result.BurstMode != policy.ModeNone {
		metadata["labels"] = map[string]string{policy.BurstLabel: string(result.BurstMode)}
	}
	if _, explained := pod.Annotations[policy.KeptLocalAnnotation]; explained {
		metadata["annotations"] = map[string]any{policy.KeptLocalAnnotation: nil} // It is no longer true.
	}
	tolerations := append(slices.Clone(pod.Spec.Tolerations), policy.ProviderToleration())
	patch, err := json.Marshal(map[string]any{
		"metadata": metadata, "spec": map[string]any{"tolerations": tolerations},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding a patch: %w", err)
	}
	return patch, nil
}

func (c *Controller) tolerationEvents(pod *corev1.Pod, result evaluation.Result) []podevents.Event {
	events := []podevents.Event{podevents.Of(corev1.EventTypeNormal, policy.BurstAllowed(result.Decision))}
	if message, ok := explain.NotPlaced(pod, result, &c.Schedulers); ok {
		kind := corev1.EventTypeWarning
		if message.Code == policy.ReasonOtherScheduler {
			kind = corev1.EventTypeNormal
		}
		events = append(events, podevents.Of(kind, message))
	}
	return events
}
