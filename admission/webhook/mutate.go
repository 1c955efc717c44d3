package webhook

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/evaluation"
	"github.com/spillway-k8s/spillway/internal/schedulers"
	"github.com/spillway-k8s/spillway/policy"
)

// isSchedulable reports whether the scheduler chooses the node of the Pod. It does not hold for Pods that have a node,
// such as static Pods, nor for the Pods of a DaemonSet, each of which must run on one particular node.
func isSchedulable(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOf(pod)
	return pod.Spec.NodeName == "" && (owner == nil || owner.Kind != "DaemonSet")
}

// kubernetesControllers are the kinds whose controllers are part of Kubernetes. They create objects from a template
// that has been validated already, so what they create is not validated again.
var kubernetesControllers = []string{
	"ReplicaSet", "StatefulSet", "Job", "DaemonSet", "Deployment", "CronJob", "ReplicationController",
}

func isControlled(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOfNoCopy(pod)
	return owner != nil && slices.Contains(kubernetesControllers, owner.Kind)
}

// mutate returns the Pod as the result of its evaluation requires. It does not change the Pod that it gets. It is
// idempotent: evaluating the returned Pod, without the affinity that mutate added, gives the same result, and mutating
// it again changes nothing.
func mutate(pod *corev1.Pod, result evaluation.Result, s schedulers.Schedulers) *corev1.Pod {
	if !result.Managed {
		return keepLocal(pod, result)
	}
	if !s.Call(pod.Spec.SchedulerName) {
		return mutateOfOther(pod, result)
	}
	out := pod.DeepCopy()
	setBurstLabel(out, result)
	explainLocal(out, result)
	if result.MayBurst() {
		tolerateVirtualNodes(&out.Spec)
	}
	if result.Placement == policy.PlacementCloudOnly {
		requireCloud(out)
	}
	if result.Forbidden() && policy.ToleratesProvider(&out.Spec) {
		requireAndRecord(out, corev1.NodeSelectorOpNotIn)
	}
	if !result.Off {
		s.Assign(&out.Spec)
		if !s.EveryPod {
			requestPlacement(&out.Spec)
		}
	}
	return out
}

// inherit returns the Pod with what it inherits from its owners: copies of their annotations, because the other
// programs read the annotations of the Pod and its namespace only. Copies that a copied manifest has brought along are
// replaced or removed. Pods that are not managed get copies too: what a workload says about waiting and returning
// applies to them.
func inherit(pod *corev1.Pod, result evaluation.Result) *corev1.Pod {
	if result.Workload.Annotations == nil { // They are not known. Controller inheritance repairs the Pod.
		return pod
	}
	set, remove := policy.Copies(pod.Annotations, result.Workload.Annotations)
	if len(set)+len(remove) == 0 {
		return pod
	}
	out := pod.DeepCopy()
	if out.Annotations == nil {
		out.Annotations = map[string]string{}
	}
	maps.Copy(out.Annotations, set)
	for _, key := range remove {
		delete(out.Annotations, key)
	}
	return out
}

// mayBurstLater reports whether the Pod may run on a virtual node with the affinity that it is created with. A managed
// Pod may also burst when the switch turns on while it waits. An unmanaged Pod is left alone while the switch is off.
func mayBurstLater(pod *corev1.Pod, result evaluation.Result, s schedulers.Schedulers) bool {
	if !result.Managed {
		return result.MayBurst()
	}
	return !result.Forbidden() && (!result.NeedsExtender() || s.Call(pod.Spec.SchedulerName))
}

// mutateOfOther returns a managed Pod whose scheduler does not call the extender. That scheduler would not find the
// marker resource on any node. Pods that must run in the cloud need no extender. Others get the toleration when their
// scheduler has found no local node (controllers/toleration), because it would not prefer local nodes. Without the
// extender, nothing counts the Pod towards the limits of its namespace or the cap of its revision: with those it stays
// on local nodes.
func mutateOfOther(pod *corev1.Pod, result evaluation.Result) *corev1.Pod {
	out := pod.DeepCopy()
	setBurstLabel(out, result)
	explainLocal(out, result)
	switch {
	case (result.Forbidden() || result.NeedsExtender()) && policy.ToleratesProvider(&out.Spec):
		requireAndRecord(out, corev1.NodeSelectorOpNotIn)
	case result.Placement == policy.PlacementCloudOnly && !result.NeedsExtender():
		tolerateVirtualNodes(&out.Spec)
		requireCloud(out)
	}
	return out
}

func tolerateVirtualNodes(spec *corev1.PodSpec) {
	if !policy.ToleratesProvider(spec) {
		spec.Tolerations = append(spec.Tolerations, policy.ProviderToleration())
	}
}

// requireCloud restricts a Pod to virtual nodes and replaces its hostPath volumes.
func requireCloud(pod *corev1.Pod) {
	requireAndRecord(pod, corev1.NodeSelectorOpIn)
	// A Pod whose replacements are malformed is not CloudOnly, so there is no error here.
	if spec, err := policy.ReplaceHostPaths(pod); err == nil {
		pod.Spec = *spec
	}
}

// keepLocal adds node affinity to an unmanaged Pod that tolerates virtual nodes and may not burst: neither the taint
// nor the extender would keep it off virtual nodes. The affinity stays when the switch turns on later, because such a
// Pod never requested to burst.
func keepLocal(pod *corev1.Pod, result evaluation.Result) *corev1.Pod {
	_, explained := pod.Annotations[policy.KeptLocalAnnotation]
	stays := !result.MayBurst() && policy.ToleratesProvider(&pod.Spec)
	if !explained && !stays {
		return pod
	}
	out := pod.DeepCopy()
	explainLocal(out, result)
	if stays {
		requireAndRecord(out, corev1.NodeSelectorOpNotIn)
	}
	return out
}

// explainLocal writes to a Pod that requests to burst why it stays on local nodes. It removes the explanation of
// another Pod, of which the manifest may be a copy.
func explainLocal(pod *corev1.Pod, result evaluation.Result) {
	delete(pod.Annotations, policy.KeptLocalAnnotation)
	if !result.StaysLocal() {
		return
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[policy.KeptLocalAnnotation] = string(result.Reason) + ": " + result.Message
}

// setBurstLabel copies the burst mode of the owner or the namespace to the Pod, because the other programs read the
// labels of the Pod only.
func setBurstLabel(pod *corev1.Pod, result evaluation.Result) {
	if result.BurstMode == policy.ModeNone || policy.HasBurstLabel(pod.Labels) {
		return
	}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels[policy.BurstLabel] = string(result.BurstMode)
}

// requestPlacement adds a request for the marker resource, which makes the scheduler call the extender for the Pod
// (managedResources). A Pod that may not burst now gets it too: the switch may turn on while the Pod waits, and a
// request cannot be added later.
func requestPlacement(spec *corev1.PodSpec) {
	if policy.NeedsPlacement(spec) || len(spec.Containers) == 0 {
		return
	}
	one := resource.MustParse("1")
	resources := &spec.Containers[0].Resources
	for _, list := range []*corev1.ResourceList{&resources.Requests, &resources.Limits} {
		if *list == nil {
			*list = corev1.ResourceList{}
		}
		(*list)[policy.PlacementResource] = one
	}
}
