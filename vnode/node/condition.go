package node

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

// FindCondition returns a condition of a Node, nil if it has none of the type.
func FindCondition(object *corev1.Node, kind corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range object.Status.Conditions {
		if object.Status.Conditions[i].Type == kind {
			return &object.Status.Conditions[i]
		}
	}
	return nil
}

// SetCondition writes a condition that only this caller writes, unless the object already has it. It may be called
// again. It leaves the conditions of others, including virtual-kubelet, alone: the API server merges the list by type.
func SetCondition(
	ctx context.Context, nodes corev1client.NodeInterface, object *corev1.Node, kind corev1.NodeConditionType,
	holds bool, reason, message string, at time.Time,
) error {
	now := metav1.NewTime(at)
	wanted := corev1.NodeCondition{
		Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: message,
		LastHeartbeatTime: now, LastTransitionTime: now,
	}
	if holds {
		wanted.Status = corev1.ConditionTrue
	}
	if found := FindCondition(object, kind); found != nil && found.Status == wanted.Status {
		if found.Reason == reason && found.Message == message {
			return nil
		}
		wanted.LastTransitionTime = found.LastTransitionTime
	}
	body, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.NodeCondition{wanted}}})
	if err != nil {
		return fmt.Errorf("encoding condition %s: %w", kind, err)
	}
	_, err = nodes.Patch(ctx, object.Name, types.StrategicMergePatchType, body, metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("writing condition %s of node %s: %w", kind, object.Name, err)
	}
	return nil
}
