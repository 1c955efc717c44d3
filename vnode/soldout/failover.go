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

// failOver tells each waiting Pod once why it waits, and evicts those that are to be rescheduled, while the node
// takes no Pods: before that their successors would come back.
func (k *Keeper) failOver(ctx context.Context, stuck []stuckPod, closed bool) error {
	var faults []error
	for _, s := range stuck {
		pod, err := k.config.Pods.Pods(s.key.Namespace).Get(s.key.Name)
		if err != nil || pod.UID != s.key.UID || pod.DeletionTimestamp != nil {
			continue
		}
		choice, fault := k.choose(pod)
		if !closed {
			choice = policy.SoldOutWait
		}
		if told, before := k.told[s.key]; !before || told != choice {
			k.told[s.key] = choice
			k.tell(pod, choice, s.why, fault)
		}
		if choice == policy.SoldOutReschedule {
			faults = append(faults, k.evict(ctx, pod))
		}
	}
	return errors.Join(faults...)
}

// choose says what becomes of a Pod: what its annotation says, else what the node says. Pods that nobody makes again
// wait, whatever they say; so do those of Jobs unless they say otherwise, since a Job counts an eviction as a
// failure.
func (k *Keeper) choose(pod *corev1.Pod) (policy.OnSoldOut, error) {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return policy.SoldOutWait, nil
	}
	choice, err := policy.ParseOnSoldOut(pod.Annotations)
	switch {
	case err != nil || choice != "":
		return choice, err
	case owner.Kind == "Job":
		return policy.SoldOutWait, nil
	}
	return k.config.StrandedPods, nil
}

func (k *Keeper) tell(pod *corev1.Pod, choice policy.OnSoldOut, why string, fault error) {
	next := "It waits here until the cloud has room"
	if choice == policy.SoldOutReschedule {
		next = "It is evicted to be scheduled elsewhere"
	}
	if fault != nil {
		next += " (" + fault.Error() + ")"
	}
	k.config.Recorder.Eventf(pod, corev1.EventTypeWarning, string(policy.ReasonSoldOut), "%s: %s", next, why)
}

// evict asks for the eviction of this very Pod. A disruption budget does not stand against it: the Pod does not run.
func (k *Keeper) evict(ctx context.Context, pod *corev1.Pod) error {
	eviction := &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))},
	}
	err := k.config.Client.PolicyV1().Evictions(pod.Namespace).Evict(ctx, eviction)
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // It is going, or gone.
	}
	return fmt.Errorf("evicting pod %s/%s: %w", pod.Namespace, pod.Name, err)
}
