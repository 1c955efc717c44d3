package play

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/prove/plan"
	"github.com/spillway-k8s/spillway/test/system"
)

// released is the prefix of the value of appLabel of a Pod that was released from its owner.
const released = "released-"

// takePods applies a step to some of the workload's Pods.
func (p *player) takePods(ctx context.Context, step plan.Step) error {
	app := p.workload.Name
	if step.Do == plan.Adopt {
		app = released + app
	}
	list, err := p.client.CoreV1().Pods(p.namespace).List(ctx, metav1.ListOptions{LabelSelector: appLabel + "=" + app})
	if err != nil {
		return err
	}
	pods := slices.DeleteFunc(list.Items, func(pod corev1.Pod) bool { return pod.DeletionTimestamp != nil })
	if step.Do == plan.DropQuota || step.Do == plan.Regroup { // Local Pods first: they give their slots back.
		slices.SortStableFunc(pods, func(a, b corev1.Pod) int { return cmp.Compare(rankLocal(&a), rankLocal(&b)) })
	}
	for i := range min(step.Count, len(pods)) {
		// Alternately from both ends: the oldest, the youngest.
		at := i
		if i%2 == 1 {
			at = len(pods) - 1 - i/2
		}
		if err := p.touch(ctx, step.Do, &pods[at]); err != nil {
			return err
		}
	}
	return nil
}

// rankLocal returns 0 for a local Pod, and 1 for others.
func rankLocal(pod *corev1.Pod) int {
	if pod.Spec.NodeName == "" || isVirtual(pod.Spec.NodeName) {
		return 1
	}
	return 0
}

func (p *player) touch(ctx context.Context, do plan.Action, pod *corev1.Pod) error {
	p.note(string(do), pod.Name)
	pods := p.client.CoreV1().Pods(p.namespace)
	switch do {
	case plan.Delete:
		return pods.Delete(ctx, pod.Name, metav1.DeleteOptions{})
	case plan.ForceDelete:
		return pods.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))})
	case plan.Evict:
		return pods.EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name,
			Namespace: p.namespace}})
	case plan.Fail:
		return p.fail(ctx, pod)
	case plan.Release:
		return p.patchPod(ctx, pod, map[string]any{"labels": map[string]any{appLabel: released + p.workload.Name}})
	case plan.Adopt:
		return p.patchPod(ctx, pod, map[string]any{"labels": map[string]any{appLabel: p.workload.Name}})
	case plan.SetOff:
		return p.patchPod(ctx, pod, map[string]any{"labels": map[string]any{policy.BurstLabel: string(policy.ModeOff)}})
	case plan.DropQuota:
		return p.patchPod(ctx, pod, map[string]any{"annotations": map[string]any{policy.LocalReplicasAnnotation: nil}})
	case plan.Regroup:
		p.created++
		hash := fmt.Sprintf("proof-%d", p.created)
		labels := map[string]any{appsv1.ControllerRevisionHashLabelKey: hash}
		return p.patchPod(ctx, pod, map[string]any{"labels": labels})
	default:
		return p.intrude(ctx, do, pod)
	}
}

func (p *player) patchPod(ctx context.Context, pod *corev1.Pod, metadata map[string]any) error {
	metadata["uid"] = pod.UID
	body, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return fmt.Errorf("encoding a patch: %w", err)
	}
	_, err = p.client.CoreV1().Pods(p.namespace).Patch(ctx, pod.Name, types.MergePatchType, body, metav1.PatchOptions{})
	return err
}

// fail ends a Pod as its kubelet does. It ignores Pods in the cloud, whose virtual node sets their status, and Pods
// that are not running yet, whose failure KWOK would overwrite.
func (p *player) fail(ctx context.Context, pod *corev1.Pod) error {
	if rankLocal(pod) > 0 || pod.Status.Phase != corev1.PodRunning {
		return nil
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status":   map[string]any{"phase": corev1.PodFailed, "reason": "Proof"},
	})
	if err != nil {
		return fmt.Errorf("encoding a patch: %w", err)
	}
	pods := p.client.CoreV1().Pods(p.namespace)
	_, err = pods.Patch(ctx, pod.Name, types.MergePatchType, body, metav1.PatchOptions{}, "status")
	return err
}

// intrude creates a copy of one of the workload's Pods, which no scheduler or the other scheduler places. The workload
// adopts it.
func (p *player) intrude(ctx context.Context, do plan.Action, like *corev1.Pod) error {
	p.created++
	intruder := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: fmt.Sprintf("%s-intruder-%d", p.workload.Name, p.created), Labels: like.Labels,
		Annotations: map[string]string{},
	}}
	if quota, ok := like.Annotations[policy.LocalReplicasAnnotation]; ok && !p.workload.OnWorkload {
		intruder.Annotations[policy.LocalReplicasAnnotation] = quota
	}
	intruder.Spec = template(&p.workload).Spec
	switch do {
	case plan.BindIn:
		intruder.Spec.NodeName = system.LocalNode(0)
	default:
		intruder.Spec.SchedulerName = plan.OtherScheduler
	}
	_, err := p.client.CoreV1().Pods(p.namespace).Create(ctx, intruder, metav1.CreateOptions{})
	return err
}
