package controllers

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/admission/verdict"
	"github.com/spillway-k8s/spillway/policy"
)

// isGrouped tells whether a Pod of a scheduling group has a local quota, or the condition that says that it is not kept.
func isGrouped(pod *corev1.Pod) bool {
	if pod.Spec.SchedulingGroup == nil || !isActive(pod) {
		return false
	}
	_, hasQuota := pod.Annotations[policy.LocalReplicasAnnotation]
	return hasQuota || conditionOf(pod, policy.LocalReplicasCondition) != nil
}

// sayQuota has a condition of the Pod say that its quota is not kept, wherever the Pod is, for as long as that holds. An Event would be gone after
// an hour, and the scheduler's condition tells only what the last node lacked.
func (t *Tolerate) sayQuota(ctx context.Context, pod *corev1.Pod, v verdict.Verdict) error {
	before, holds := conditionOf(pod, policy.LocalReplicasCondition), v.Reason == policy.ReasonSchedulingGroup
	if holds == (before != nil) && (!holds || before.Message == v.Message) {
		return nil
	}
	patch, err := quotaPatch(pod, v, holds, metav1.NewTime(t.events.now()))
	if err != nil {
		return err
	}
	_, err = t.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: component}, "status")
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("saying in the Pod's condition whether its %s is kept: %w", policy.LocalReplicasAnnotation, err)
	}
	t.logger.Info("said in a Pod's condition whether its quota is kept", "pod", cache.MetaObjectToName(pod).String(), "kept", !holds)
	return nil
}

// quotaPatch merges by the type of the condition, so those of the scheduler and the kubelet are never touched.
func quotaPatch(pod *corev1.Pod, v verdict.Verdict, holds bool, now metav1.Time) ([]byte, error) {
	condition := map[string]any{"type": policy.LocalReplicasCondition, "$patch": "delete"}
	if holds {
		condition = map[string]any{
			"type": policy.LocalReplicasCondition, "status": corev1.ConditionFalse, "reason": v.Reason, "message": v.Message, "lastTransitionTime": now,
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
