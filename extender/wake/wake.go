// Package wake makes the scheduler look again at Pods that the extender has refused. A change of any field of a waiting Pod
// does that within a millisecond, while the scheduler's own look often comes before the extender has seen what
// changed (facts/scheduler.md 1.3). The memory is always changed first, then the Pod is woken.
package wake

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"

	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/policy"
)

// workers is how many Pods are woken at a time; the client's rate limit bounds how many a second.
const workers = 8

// Waker wakes Pods one after another, and tries again where the API server does not answer.
type Waker struct {
	client kubernetes.Interface
	now    func() time.Time
	logger *slog.Logger
	queue  workqueue.TypedRateLimitingInterface[ledger.PodRef]
}

// New makes a Waker. now is the clock whose time marks the Pods.
func New(client kubernetes.Interface, now func() time.Time, logger *slog.Logger) *Waker {
	return &Waker{
		client: client,
		now:    now,
		logger: logger,
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[ledger.PodRef](20*time.Millisecond, 10*time.Second)),
	}
}

// Wake asks for one look at a Pod. It does not block, and asking twice is asking once.
func (w *Waker) Wake(pod ledger.PodRef) { w.queue.Add(pod) }

// Run wakes until ctx ends. It blocks.
func (w *Waker) Run(ctx context.Context) error {
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for w.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	w.queue.ShutDown()
	group.Wait()
	return nil
}

func (w *Waker) next(ctx context.Context) bool {
	pod, shutdown := w.queue.Get()
	if shutdown {
		return false
	}
	defer w.queue.Done(pod)
	if err := w.patch(ctx, pod); err != nil && ctx.Err() == nil {
		w.logger.Warn("waking a pod; trying again", "pod", pod.NamespacedName, "err", err)
		w.queue.AddRateLimited(pod)
		return true
	}
	w.queue.Forget(pod)
	return true
}

// patch touches the Pod. A Pod that is gone, or another of the same name, is none of ours.
func (w *Waker) patch(ctx context.Context, pod ledger.PodRef) error {
	// A clock that was set back may say a time again, and a patch that changes nothing wakes nobody.
	mark := w.now().UTC().Format(time.RFC3339Nano) + " " + rand.Text()[:8]
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid":         pod.UID,
		"annotations": map[string]string{policy.WakeAnnotation: mark},
	}})
	if err != nil {
		return fmt.Errorf("encoding the patch for pod %s: %w", pod.NamespacedName, err)
	}
	_, err = w.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: "spillway-extender"})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("patching pod %s: %w", pod.NamespacedName, err)
	}
	return nil
}
