package record

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
)

// PodOf returns the entry of a Pod. It fails if the resource version or the quota is not a number.
func PodOf(pod *corev1.Pod) (*Pod, error) {
	version, err := parseVersion(pod)
	if err != nil {
		return nil, err
	}
	size, err := policy.CCI2.Size(pod.Annotations, &pod.Spec, sizes.Flavor{})
	if err != nil {
		return nil, fmt.Errorf("finding the size of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	_, cloudSlot := policy.CloudSlotOf(pod)
	noted := &Pod{
		Version: version, Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
		Hash: pod.Labels["controller-revision-hash"], Burst: pod.Labels[policy.BurstLabel],
		Switch:    pod.Annotations[policy.SwitchKey],
		Slot:      pod.Annotations[policy.LocalSlotAnnotation] == string(pod.UID),
		CloudSlot: cloudSlot, Size: size,
		Marked: policy.NeedsPlacement(&pod.Spec), Scheduler: pod.Spec.SchedulerName,
		Node: pod.Spec.NodeName, Phase: string(pod.Status.Phase), Terminating: pod.DeletionTimestamp != nil,
		Nominated: pod.Status.NominatedNodeName,
	}
	if owner := metav1.GetControllerOf(pod); owner != nil {
		noted.Owner, noted.OwnerName = owner.UID, owner.Name
	}
	if pod.Spec.Priority != nil {
		noted.Priority = *pod.Spec.Priority
	}
	if value, ok := pod.Annotations[policy.LocalReplicasAnnotation]; ok {
		quota, err := strconv.Atoi(value)
		if err != nil {
			return nil, fmt.Errorf("reading the quota of pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
		noted.Quota = &quota
	}
	noteConditions(noted, pod.Status.Conditions)
	return noted, nil
}

func noteConditions(noted *Pod, conditions []corev1.PodCondition) {
	for _, condition := range conditions {
		switch {
		case condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse:
			noted.Reason, noted.Message = condition.Reason, condition.Message
		case condition.Type == corev1.DisruptionTarget && condition.Status == corev1.ConditionTrue:
			noted.Disrupted = condition.Reason
		}
	}
}

// NodeOf returns the entry of a node.
func NodeOf(node *corev1.Node) (*Node, error) {
	version, err := parseVersion(node)
	if err != nil {
		return nil, err
	}
	hash, err := contentOf(node)
	if err != nil {
		return nil, err
	}
	return &Node{Version: version, Name: node.Name, Virtual: policy.IsOurNode(node.Labels), Content: hash}, nil
}

// contentOf hashes the fields whose change makes the scheduler retry refused Pods: everything except heartbeats.
func contentOf(node *corev1.Node) (uint64, error) {
	conditions := map[corev1.NodeConditionType]corev1.ConditionStatus{}
	for _, condition := range node.Status.Conditions {
		conditions[condition.Type] = condition.Status
	}
	content, err := json.Marshal([]any{
		node.Labels, node.Annotations, node.Spec.Unschedulable, node.Spec.Taints, node.Status.Allocatable, conditions,
	})
	if err != nil {
		return 0, fmt.Errorf("encoding node %s: %w", node.Name, err)
	}
	hash := fnv.New64a()
	_, _ = hash.Write(content) // Never fails.
	return hash.Sum64(), nil
}

func parseVersion(object metav1.Object) (uint64, error) {
	version, err := strconv.ParseUint(object.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading the resource version of %s: %w", object.GetName(), err)
	}
	return version, nil
}
