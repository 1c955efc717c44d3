package soldout

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// failOver reports once on each stranded Pod why it waits, and evicts the Pods that are to be rescheduled. It evicts
// only while the node is unschedulable: otherwise their successors would come back to it at once, without end.
func (c *Controller) failOver(ctx context.Context, stranded []strandedPod, unschedulable bool) error {
	var errs []error
	for _, s := range stranded {
		if s.pod == nil {
			continue
		}
		action, invalid := c.action(s.pod)
		if !unschedulable {
			action = policy.SoldOutWait
		}
		if s.reported != action {
			s.reported = action
			c.report(s, action, invalid)
		}
		if action == policy.SoldOutReschedule {
			errs = append(errs, c.evict(ctx, s.pod))
		}
	}
	return errors.Join(errs...)
}

// action returns what happens to a Pod: what its annotation says, else what the node's configuration says. A Pod
// without a controller always waits, because nothing would replace it. The Pod of a Job waits unless its annotation
// says otherwise, because a Job counts an eviction as a failure. The error is that of an invalid annotation.
func (c *Controller) action(pod *corev1.Pod) (policy.OnSoldOut, error) {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return policy.SoldOutWait, nil
	}
	action, err := policy.ParseOnSoldOut(pod.Annotations)
	switch {
	case err != nil || action != "":
		return action, err
	case owner.Kind == "Job":
		return policy.SoldOutWait, nil
	}
	return c.config.StrandedPods, nil
}

func (c *Controller) report(s strandedPod, action policy.OnSoldOut, invalid error) {
	next, reason := policy.SoldOut().Sentence, policy.ReasonSoldOut
	if s.forQuota() {
		if action == policy.SoldOutWait {
			return // The Event of the refusal says so.
		}
		reason = policy.ReasonQuota
	}
	if action == policy.SoldOutReschedule {
		next = "the Pod is evicted to be scheduled elsewhere"
	}
	if invalid != nil {
		next += " (" + invalid.Error() + ")"
	}
	c.config.Recorder.Eventf(s.pod, corev1.EventTypeWarning, string(reason), "%s: %s", next, s.cause)
}

// evict requests the eviction of this Pod. No disruption budget prevents it: the Pod is not running.
func (c *Controller) evict(ctx context.Context, pod *corev1.Pod) error {
	eviction := &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))},
	}
	err := c.config.Client.PolicyV1().Evictions(pod.Namespace).Evict(ctx, eviction)
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // The Pod is terminating or gone.
	}
	return fmt.Errorf("evicting pod %s/%s: %w", pod.Namespace, pod.Name, err)
}
