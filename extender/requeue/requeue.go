// Package requeue makes the scheduler retry Pods that the extender has refused. A change of any field of a waiting
// Pod makes the scheduler retry it within a millisecond, while the scheduler's own retry often comes before the
// extender has seen what changed (docs/sources.md#scheduler-retry). The ledger is always changed first, then the Pod
// is requeued.
package requeue

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/internal/counters"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/worker"
	"github.com/spillway-k8s/spillway/policy"
)

// workers is how many Pods are requeued at the same time. The client's rate limit bounds how many per second.
const workers = 8

// The delay between two attempts to requeue a Pod doubles from minRetryInterval to maxRetryInterval.
const (
	minRetryInterval = 20 * time.Millisecond
	maxRetryInterval = 10 * time.Second
)

// Leadership reports whether this process answers the scheduler.
type Leadership interface{ Ready() error }

// Requeuer requeues Pods. It retries until the API server has accepted the change.
type Requeuer struct {
	client kubernetes.Interface
	leader Leadership
	now    func() time.Time
	done   *prometheus.CounterVec
	loop   *worker.Loop[ledger.PodRef]
}

// Outcomes of a requeue, in metrics.
const (
	outcomeRequeued = "requeued"
	outcomeGone     = "gone"
	outcomeFailed   = "failed"
)

// New returns a Requeuer. now is the clock that timestamps the Pods.
func New(
	client kubernetes.Interface, leader Leadership, now func() time.Time, registerer prometheus.Registerer,
	logger *slog.Logger,
) (*Requeuer, error) {
	r := &Requeuer{client: client, leader: leader, now: now}
	r.done = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "spillway_extender_requeues_total",
		Help: "Number of refused Pods for which the extender asked the scheduler to retry, by outcome: requeued, " +
			"gone (the Pod is deleted), failed (tried again).",
	}, []string{"outcome"})
	err := registerer.Register(r.done)
	if err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	counters.Start(r.done, []string{outcomeRequeued, outcomeGone, outcomeFailed})
	r.loop, err = worker.New(worker.Config[ledger.PodRef]{
		Name: "requeue", Workers: workers, Namespace: func(pod ledger.PodRef) string { return pod.Namespace },
		Reconcile:        r.requeue,
		MinRetryInterval: minRetryInterval, MaxRetryInterval: maxRetryInterval,
		Failed: func(pod ledger.PodRef, _ int, delay time.Duration, err error) {
			r.done.WithLabelValues(outcomeFailed).Inc()
			logger.Warn("requeueing the pod failed", logging.Pod(pod.Namespace, pod.Name, pod.UID),
				"retryAfter", delay, "err", err)
		},
	})
	return r, err
}

// Add requeues a Pod, unless this process does not lead: the leader knows itself which Pods wait. It does not block.
// A Pod that is added twice before it is requeued is requeued once.
func (r *Requeuer) Add(pod ledger.PodRef) {
	if r.leader.Ready() == nil {
		r.loop.Add(pod)
	}
}

// Run requeues Pods until ctx ends. It blocks.
func (r *Requeuer) Run(ctx context.Context) error { return r.loop.Run(ctx) }

// requeue changes an annotation of the Pod. It does nothing if the Pod is gone, also if a new Pod has its name.
func (r *Requeuer) requeue(ctx context.Context, pod ledger.PodRef) (time.Duration, error) {
	// A clock that was set back can return the same time twice. Without the random text such a patch would change
	// nothing, and the scheduler would not retry the Pod.
	mark := r.now().UTC().Format(time.RFC3339Nano) + " " + rand.Text()[:8]
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid":         pod.UID,
		"annotations": map[string]string{policy.RequeueAnnotation: mark},
	}})
	if err != nil {
		return 0, fmt.Errorf("encoding the patch for pod %s: %w", pod.NamespacedName, err)
	}
	options := metav1.PatchOptions{FieldManager: "spillway-extender"}
	_, err = r.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, body, options)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		r.done.WithLabelValues(outcomeGone).Inc()
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("patching pod %s: %w", pod.NamespacedName, err)
	}
	r.done.WithLabelValues(outcomeRequeued).Inc()
	return 0, nil
}
