package explanation

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/admission/controllers/reconciler"
	"github.com/spillway-k8s/spillway/internal/evaluation"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/policy"
)

// updateCondition sets a condition of the Pod while its quota is not kept because of its scheduling group, wherever
// the Pod runs, and removes the condition afterwards. An Event would expire after an hour, and the condition of the
// scheduler reports only what the last node lacked.
func (c *Controller) updateCondition(ctx context.Context, pod *corev1.Pod, result evaluation.Result) error {
	current, want := policy.PodCondition(pod, policy.LocalReplicasCondition), result.Reason == policy.ReasonSchedulingGroup
	if want == (current != nil) && (!want || current.Message == result.Message) {
		return nil
	}
	patch, err := conditionPatch(pod, result, want, metav1.NewTime(c.Now()))
	if err != nil {
		return err
	}
	_, err = c.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch,
		metav1.PatchOptions{FieldManager: reconciler.FieldManager}, "status")
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("updating condition %s: %w", policy.LocalReplicasCondition, err)
	}
	c.Logger.Info("updated the condition about the quota of a Pod",
		logging.Pod(pod.Namespace, pod.Name, pod.UID), "kept", !want)
	return nil
}

// conditionPatch merges by the type of the condition, so it never changes the conditions of the scheduler and the
// kubelet.
func conditionPatch(pod *corev1.Pod, result evaluation.Result, set bool, now metav1.Time) ([]byte, error) {
	condition := map[string]any{"type": policy.LocalReplicasCondition, "$patch": "delete"}
	if set {
		condition = map[string]any{
			"type": policy.LocalReplicasCondition, "status": corev1.ConditionFalse,
			"reason": result.Reason, "message": result.Message, "lastTransitionTime": now,
		}
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status":   map[string]any{"conditions": []any{condition}},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding a patch: %w", err)
	}
	return patch, nil
}
