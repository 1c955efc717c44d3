package placement

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/spillway-k8s/spillway/policy"
)

// PodSlots writes slots onto the Pods themselves, as policy.LocalSlotAnnotation. It is the one API call in the scheduler's way, paid once
// by each local replica of a quota: without it a restarted extender gives every slot twice that is in flight (measured: 10 local
// replicas for a quota of 5, facts/scheduler.md, finding 3).
type PodSlots struct{ Client kubernetes.Interface }

// Write implements Slots.
func (s PodSlots) Write(ctx context.Context, pod *corev1.Pod) (definite bool, err error) {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid":         pod.UID,
		"annotations": map[string]string{policy.LocalSlotAnnotation: string(pod.UID)},
	}})
	if err != nil {
		return true, fmt.Errorf("encoding the slot of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	_, err = s.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: "spillway-extender"})
	if err != nil {
		// Only an answer of the API server that refuses the patch proves that it was not written.
		refused := apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsForbidden(err) || apierrors.IsInvalid(err)
		return refused, fmt.Errorf("writing the slot of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return false, nil
}
