package wayhome

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
)

// fieldManager is the name under which the extender changes Pods.
const fieldManager = "spillway-extender"

// releasePatch makes the ReplicaSet of a Pod release it: its label goes, and the Deployment owns it meanwhile.
func releasePatch(pod *corev1.Pod, m policy.MovingHome) ([]byte, error) {
	owners := append(slices.Clone(pod.OwnerReferences), metav1.OwnerReference{
		APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "Deployment", Name: m.Deployment, UID: m.DeploymentUID,
	})
	return patchOf(pod, map[string]any{
		"labels":          map[string]any{appsv1.DefaultDeploymentUniqueLabelKey: nil},
		"annotations":     map[string]any{policy.MovingHomeAnnotation: m.String()},
		"ownerReferences": owners,
	})
}

// undoPatch takes releasePatch back. Without adopt, the Pod keeps its labels: it has another controller.
func undoPatch(pod *corev1.Pod, m policy.MovingHome, adopt bool) ([]byte, error) {
	owners := slices.DeleteFunc(slices.Clone(pod.OwnerReferences), func(o metav1.OwnerReference) bool {
		return o.UID == m.DeploymentUID
	})
	change := map[string]any{
		"annotations":     map[string]any{policy.MovingHomeAnnotation: nil},
		"ownerReferences": owners,
	}
	if adopt {
		change["labels"] = map[string]any{appsv1.DefaultDeploymentUniqueLabelKey: m.Hash}
	}
	return patchOf(pod, change)
}

// patchOf returns a patch that applies only to this version of a Pod.
func patchOf(pod *corev1.Pod, metadata map[string]any) ([]byte, error) {
	metadata["uid"], metadata["resourceVersion"] = pod.UID, pod.ResourceVersion
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return nil, fmt.Errorf("encoding a patch: %w", err)
	}
	return patch, nil
}

func (c *Controller) patch(ctx context.Context, pod *corev1.Pod, patch []byte) error {
	_, err := c.Client.CoreV1().Pods(pod.Namespace).Patch(
		ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil {
		return fmt.Errorf("patching pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

// evict requests the eviction of a Pod. refused is true if a disruption budget does not allow it now. A Pod that is
// gone needs none.
func (c *Controller) evict(ctx context.Context, pod *corev1.Pod, dryRun bool) (refused bool, err error) {
	eviction := &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))},
	}
	if dryRun {
		eviction.DeleteOptions.DryRun = []string{metav1.DryRunAll}
	}
	err = c.Client.PolicyV1().Evictions(pod.Namespace).Evict(ctx, eviction)
	switch {
	case err == nil, apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return false, nil
	case apierrors.IsTooManyRequests(err):
		return true, nil
	}
	return false, fmt.Errorf("evicting pod %s/%s: %w", pod.Namespace, pod.Name, err)
}

// successorOf returns a Pod as the template of its workload will make it, and admission will change it: like the one
// that it succeeds, without what belongs to that Pod alone.
func successorOf(pod *corev1.Pod) *corev1.Pod {
	s := pod.DeepCopy()
	s.ObjectMeta = metav1.ObjectMeta{
		Namespace: pod.Namespace, GenerateName: pod.GenerateName, Labels: s.Labels, Annotations: s.Annotations,
		OwnerReferences: s.OwnerReferences,
	}
	if kind, _, _, _ := controllerOf(pod); kind == "StatefulSet" {
		s.Name = pod.Name
	}
	for _, key := range policy.WrittenAnnotations() {
		if key != policy.InheritedAnnotation && key != policy.AddedAffinityAnnotation {
			delete(s.Annotations, key)
		}
	}
	delete(s.Annotations, policy.DeletionCostAnnotation)
	s.Spec.NodeName = ""
	s.Status = corev1.PodStatus{}
	return s
}
