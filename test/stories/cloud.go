package stories

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
)

// cloudPods lists the Pods of the cloud through its API. The keys are the UIDs of the Pods in the cluster.
func (w *World) cloudPods(ctx context.Context) (map[types.UID]corev1.Pod, error) {
	var list corev1.PodList
	if err := w.cluster.Cloud.List(ctx, "pods", &list); err != nil {
		return nil, err
	}
	pods := make(map[types.UID]corev1.Pod, len(list.Items))
	for _, pod := range list.Items {
		pods[types.UID(pod.Annotations[policy.CloudUIDAnnotation])] = pod
	}
	return pods, nil
}
