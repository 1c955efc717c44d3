package record

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
)

// PodOf returns the entry of a Pod. It fails if the resource version is not a number.
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
		Nominated: pod.Status.NominatedNodeName, App: pod.Labels[AppLabel], Created: pod.CreationTimestamp.UTC(),
		Room: roomOf(&pod.Spec),
	}
	if owner := metav1.GetControllerOf(pod); owner != nil {
		noted.Owner, noted.OwnerName = owner.UID, owner.Name
	}
	if pod.Spec.Priority != nil {
		noted.Priority = *pod.Spec.Priority
	}
	for i := range pod.Spec.Containers {
		noted.MilliCPU += pod.Spec.Containers[i].Resources.Requests.Cpu().MilliValue()
	}
	noteSettings(noted, pod.Annotations)
	noteConditions(noted, pod.Status.Conditions)
	if err := noteMove(noted, pod.Annotations); err != nil {
		return nil, fmt.Errorf("reading the move of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return noted, nil
}

// Labels of the harness. AppLabel is the label by which a workload selects its Pods, and RoomLabel that by which Pods
// select local nodes.
const (
	AppLabel  = "app"
	RoomLabel = "proof/room"
)

// roomOf returns the local nodes that a Pod selects. Its required node affinity has one term for them.
func roomOf(spec *corev1.PodSpec) string {
	if spec.Affinity == nil || spec.Affinity.NodeAffinity == nil ||
		spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	for _, term := range spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, requirement := range term.MatchExpressions {
			if requirement.Key == RoomLabel && len(requirement.Values) == 1 {
				return requirement.Values[0]
			}
		}
	}
	return ""
}

func noteSettings(noted *Pod, annotations map[string]string) {
	for _, key := range policy.InheritedAnnotations() {
		value, ok := annotations[key]
		if !ok {
			continue
		}
		if quota, err := strconv.Atoi(value); key == policy.LocalReplicasAnnotation && err == nil {
			noted.Quota = &quota
			continue
		}
		if noted.Settings == nil {
			noted.Settings = map[string]string{}
		}
		noted.Settings[key] = value
	}
}

// noteMove notes the revision of a Pod on its way home.
func noteMove(noted *Pod, annotations map[string]string) error {
	value, ok := annotations[policy.MovingHomeAnnotation]
	if !ok {
		return nil
	}
	var move struct{ ReplicaSetUID types.UID }
	if err := json.Unmarshal([]byte(value), &move); err != nil {
		return err
	}
	noted.Moving = move.ReplicaSetUID
	return nil
}

func noteConditions(noted *Pod, conditions []corev1.PodCondition) {
	for _, condition := range conditions {
		switch {
		case condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse:
			noted.Reason, noted.Message = condition.Reason, condition.Message
		case condition.Type == corev1.PodReady:
			noted.Ready = condition.Status == corev1.ConditionTrue
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
	return &Node{
		Version: version, Name: node.Name, Virtual: policy.IsOurNode(node.Labels), Content: hash,
		MilliCPU: node.Status.Allocatable.Cpu().MilliValue(), Room: node.Labels[RoomLabel], Open: isOpen(node),
	}, nil
}

// isOpen reports whether a Pod of the plan, which tolerates no taints of local nodes, may run on the node.
func isOpen(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
			return false
		}
	}
	return !node.Spec.Unschedulable && len(node.Spec.Taints) == 0
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
