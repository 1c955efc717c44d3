package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/admission/verdict"
	"github.com/spillway-k8s/spillway/policy"
)

const tolerateWorkers = 16

// Judge gives the verdict about a Pod (admission/verdict).
type Judge interface {
	// Decide may block for a bounded time. An error means that the verdict could not be found.
	Decide(context.Context, *corev1.Pod) (verdict.Verdict, error)
}

// Owners knows what Pods belong to (admission/workload).
type Owners interface {
	// Malformed tells whether the Pod has its burst mode from an owner whose label cannot be read. It must not block.
	Malformed(*corev1.Pod) bool
	// OnChange calls changed with a namespace until stop is called. changed must not block.
	OnChange(changed func(namespace string)) (stop func() error, err error)
}

// Tolerate adds the toleration of virtual nodes to Pods for which no local node fits, once they may burst (seed 0, the
// admission-controller). It cannot be taken back, so a Pod that can be placed at home never gets it. A Pod that has to go on
// waiting gets an Event with the reason that is ours, and one with a malformed key an Event about that, wherever it is. One whose quota cannot be
// kept for its scheduling group has a condition that says so.
type Tolerate struct {
	loop    loop
	client  kubernetes.Interface
	pods    *Pods
	nodes   *VirtualNodes
	judge   Judge
	owners  Owners
	events  *events
	metrics Metrics
	logger  *slog.Logger
}

// NewTolerate makes the controller. resync is how often every Pod that is tended is looked at again though nothing
// was seen to change. It starts nothing.
func NewTolerate(client kubernetes.Interface, pods *Pods, nodes *VirtualNodes, judge Judge, owners Owners, resync time.Duration, now func() time.Time, metrics Metrics, logger *slog.Logger) *Tolerate {
	t := &Tolerate{
		client: client, pods: pods, nodes: nodes, judge: judge, owners: owners, events: newEvents(client, now), metrics: metrics, logger: logger,
	}
	t.loop = loop{
		name: "tolerate", workers: tolerateWorkers, resync: resync, reconcile: t.reconcile,
		backlog: func() []cache.ObjectName { return pods.those(t.isTended) },
		again:   make(chan struct{}, 1), failed: metrics.failed("tolerate"), logger: logger,
	}
	return t
}

// LookAgain has every waiting Pod looked at at once: the global switch has changed. It does not block and may be called at any
// time.
func (t *Tolerate) LookAgain() { t.loop.lookAgain() }

// Run works until ctx ends. It blocks. It may be called again afterwards, but not twice at a time.
func (t *Tolerate) Run(ctx context.Context) error {
	q := t.loop.open()
	saw := func(object any) { t.saw(q, object) }
	registration, err := t.pods.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: saw,
		UpdateFunc: func(before, pod any) {
			saw(pod)
			t.sawBinding(q, before, pod)
		},
		DeleteFunc: t.lost,
	})
	if err != nil {
		return fmt.Errorf("watching Pods: %w", err)
	}
	stop, err := t.owners.OnChange(func(namespace string) {
		for _, name := range t.pods.named(byWaiting, namespace) {
			q.Add(name)
		}
	})
	if err != nil {
		return errors.Join(err, t.pods.informer.RemoveEventHandler(registration))
	}
	t.loop.run(ctx, q)
	return errors.Join(stop(), t.pods.informer.RemoveEventHandler(registration))
}

func (t *Tolerate) saw(q queue, object any) {
	pod, ok := object.(*corev1.Pod)
	switch {
	case !ok:
	case t.isTended(pod):
		q.Add(cache.MetaObjectToName(pod))
	default:
		t.events.forget(pod.UID)
	}
}

// sawBinding looks again at the Pods that wait where a replica has come home: it may have used up their quota.
func (t *Tolerate) sawBinding(q queue, before, after any) {
	was, okBefore := before.(*corev1.Pod)
	is, okAfter := after.(*corev1.Pod)
	if !okBefore || !okAfter || was.Spec.NodeName == is.Spec.NodeName || t.nodes.has(is.Spec.NodeName) {
		return
	}
	if _, counted := is.Annotations[policy.LocalReplicasAnnotation]; counted {
		for _, name := range t.pods.named(byWaiting, is.Namespace) {
			q.Add(name)
		}
	}
}

// isTended tells whether there may be something to do about a Pod: it waits, it has a malformed key of its own or of an owner's, or a quota that
// its scheduling group does not let us keep.
func (t *Tolerate) isTended(pod *corev1.Pod) bool {
	return isWaiting(pod) || isMalformed(pod) || isGrouped(pod) || (isActive(pod) && t.owners.Malformed(pod))
}

func (t *Tolerate) lost(object any) {
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = tombstone.Obj
	}
	if pod, ok := object.(*corev1.Pod); ok {
		t.events.forget(pod.UID)
	}
}

func (t *Tolerate) reconcile(ctx context.Context, name cache.ObjectName) error {
	pod := t.pods.get(name)
	if pod == nil || !t.isTended(pod) {
		return nil
	}
	v, err := t.judge.Decide(ctx, pod)
	if err != nil {
		return fmt.Errorf("judging the Pod: %w", err)
	}
	if len(v.Faults) > 0 {
		err = t.tell(ctx, pod, malformed(v))
	}
	if isGrouped(pod) {
		err = errors.Join(err, t.sayQuota(ctx, pod, v))
	}
	if !isWaiting(pod) || (len(v.Faults) > 0 && v.Off) { // That it may not burst has been said.
		return err
	}
	switch {
	case !v.MayBurst():
		return errors.Join(err, t.tell(ctx, pod, mayNotBurst(pod, v)))
	case !policy.ToleratesProvider(&pod.Spec):
		return errors.Join(err, t.release(ctx, pod, v))
	}
	if ev, ok := t.whyWaiting(pod, v); ok {
		return errors.Join(err, t.tell(ctx, pod, ev))
	}
	return err
}

// release lets the Pod onto virtual nodes.
func (t *Tolerate) release(ctx context.Context, pod *corev1.Pod, v verdict.Verdict) error {
	patch, err := releasePatch(pod, v)
	if err != nil {
		return err
	}
	_, err = t.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: component})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("adding the toleration of virtual nodes: %w", err)
	}
	t.metrics.Tolerations.WithLabelValues(string(v.Reason)).Inc()
	t.logger.Info("let a Pod onto virtual nodes", "pod", cache.MetaObjectToName(pod).String(), "reason", string(v.Reason))
	for _, ev := range releaseEvents(pod, v) {
		if _, err := t.events.tell(ctx, pod, ev); err != nil {
			t.logger.Warn("the Pod was released without an event", "pod", cache.MetaObjectToName(pod).String(), "err", err)
		}
	}
	return nil
}

// releasePatch holds for the Pod as it was judged only: whatever has changed since makes it a conflict, and the Pod is judged
// again. The burst label comes along where the Pod has it from its workload or namespace: virtual nodes look at the Pod only.
func releasePatch(pod *corev1.Pod, v verdict.Verdict) ([]byte, error) {
	metadata := map[string]any{"uid": pod.UID, "resourceVersion": pod.ResourceVersion}
	if own, err := policy.ParseMode(pod.Labels); err == nil && own == policy.ModeNone && v.Label != policy.ModeNone {
		metadata["labels"] = map[string]string{policy.BurstLabel: string(v.Label)}
	}
	tolerations := append(slices.Clone(pod.Spec.Tolerations), policy.ProviderToleration())
	patch, err := json.Marshal(map[string]any{"metadata": metadata, "spec": map[string]any{"tolerations": tolerations}})
	if err != nil {
		return nil, fmt.Errorf("encoding a patch: %w", err)
	}
	return patch, nil
}

func releaseEvents(pod *corev1.Pod, v verdict.Verdict) []event {
	told := []event{{corev1.EventTypeNormal, policy.ReasonBurstAllowed, "no local node fits, and virtual nodes may take the Pod now: " + v.Message}}
	if v.Keyed && !policy.NeedsPlacement(&pod.Spec) {
		told = append(told, event{corev1.EventTypeWarning, policy.ReasonWebhookMissed, "the Pod was created while the webhook could not be asked, " +
			"so the scheduler places it by its own rules (no " + string(policy.PlacementResource) + " request, no node affinity for enforce): " +
			"delete it to have it made again"})
	}
	return told
}

// tell gives the Pod an Event.
func (t *Tolerate) tell(ctx context.Context, pod *corev1.Pod, ev event) error {
	told, err := t.events.tell(ctx, pod, ev)
	if told {
		t.metrics.Explained.WithLabelValues(string(ev.reason)).Inc()
	}
	return err
}
