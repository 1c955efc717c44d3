package main

import (
	"context"
	"fmt"
	"strconv"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
)

// unmanagedPod returns an unmanaged Pod, which the webhook does not change. All Pods name a ReplicaSet, which does not
// exist: Pods with a quota need one, and they should differ only in the quota.
func unmanagedPod(revision string, i int) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:      fmt.Sprintf("%s-%04d", revision, i),
			Namespace: namespace,
			Labels:    map[string]string{"app": revision},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: revision, UID: types.UID("uid-of-" + revision),
				Controller: new(true), BlockOwnerDeletion: new(true),
			}},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "main", Image: "registry.example/team/app:1.0",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
			}},
		}}},
	}
}

// quotaPod returns a Pod with a local quota, as changed by the webhook.
func quotaPod(revision string, i, quota int) *corev1.Pod {
	pod := unmanagedPod(revision, i)
	pod.Annotations = map[string]string{policy.SwitchKey: "true", policy.LocalReplicasAnnotation: strconv.Itoa(quota)}
	pod.Spec.Tolerations = []corev1.Toleration{policy.ProviderToleration()}
	resources := &pod.Spec.Containers[0].Resources
	resources.Requests[policy.PlacementResource] = resource.MustParse("1")
	resources.Limits = corev1.ResourceList{policy.PlacementResource: resource.MustParse("1")}
	return pod
}

// createPods creates the Pods and returns them as stored by the API server.
func (c *cluster) createPods(ctx context.Context, pods []*corev1.Pod) ([]*corev1.Pod, error) {
	created := make([]*corev1.Pod, len(pods))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, pod := range pods {
		group.Go(func() (err error) {
			if created[i], err = c.Client().CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
				return fmt.Errorf("creating pod %s/%s: %w", namespace, pod.Name, err)
			}
			return nil
		})
	}
	return created, group.Wait()
}

// listPods returns all Pods.
func (c *cluster) listPods(ctx context.Context) ([]corev1.Pod, error) {
	list, err := c.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing the pods of namespace %s: %w", namespace, err)
	}
	return list.Items, nil
}

// deletePods deletes all Pods.
func (c *cluster) deletePods(ctx context.Context) error {
	pods, err := c.listPods(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, pod := range pods {
		group.Go(func() error {
			now := metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}
			if err := c.Client().CoreV1().Pods(namespace).Delete(ctx, pod.Name, now); err != nil {
				return fmt.Errorf("deleting pod %s/%s: %w", namespace, pod.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}
