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
)

// PodSlots writes slots to the Pods themselves, as annotations. It is the one API call that the scheduler waits for,
// once for each local replica of a quota and for each Pod that counts towards the limits of a namespace. Without it an
// extender that restarts would give every slot again whose Pod is not bound yet (measured: 10 local replicas for a
// quota of 5, docs/sources.md#scheduler-restart).
type PodSlots struct{ Client kubernetes.Interface }

// Write implements Slots.
func (s PodSlots) Write(
	ctx context.Context, pod *corev1.Pod, annotation, value string,
) (notWritten bool, err error) {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid":         pod.UID,
		"annotations": map[string]string{annotation: value},
	}})
	if err != nil {
		return true, fmt.Errorf("encoding the slot of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	options := metav1.PatchOptions{FieldManager: "spillway-extender"}
	_, err = s.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, body, options)
	if err != nil {
		// Only a response in which the API server refuses the patch proves that the slot was not written.
		refused := apierrors.IsNotFound(err) || apierrors.IsConflict(err) ||
			apierrors.IsForbidden(err) || apierrors.IsInvalid(err)
		return refused, fmt.Errorf("writing the slot of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return false, nil
}
