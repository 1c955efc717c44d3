package webhook

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/admission/verdict"
	"github.com/spillway-k8s/spillway/policy"
)

// concerns tells whether it makes a difference what the webhook does to a Pod: not where its node is chosen already, as for
// static Pods, nor where it must be on a certain one.
func concerns(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOf(pod)
	return pod.Spec.NodeName == "" && (owner == nil || owner.Kind != "DaemonSet")
}

// kubernetesControllers are the kinds whose controllers are Kubernetes' own. What they make is as their template says, and the
// validation, which has seen that, is not asked about it again.
var kubernetesControllers = []string{"ReplicaSet", "StatefulSet", "Job", "DaemonSet", "Deployment", "CronJob", "ReplicationController"}

func isControlled(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOfNoCopy(pod)
	return owner != nil && slices.Contains(kubernetesControllers, owner.Kind)
}

// mutate returns the Pod as the verdict about it wants it, with the scheduler (none where it is empty) that asks the extender; the
// Pod that was given is not changed. What it returns gets the same
// verdict and comes out of it unchanged.
func mutate(pod *corev1.Pod, v verdict.Verdict, schedulerName string) *corev1.Pod {
	if !v.Keyed {
		return keepHome(pod, v)
	}
	out := pod.DeepCopy()
	label(out, v)
	if v.MayBurst() && !policy.ToleratesProvider(&out.Spec) {
		out.Spec.Tolerations = append(out.Spec.Tolerations, policy.ProviderToleration())
	}
	if v.Placement == policy.PlacementCloudOnly {
		requireNodeType(&out.Spec, corev1.NodeSelectorOpIn)
		if spec, err := policy.ReplaceHostPaths(out); err == nil { // One that cannot be read keeps a Pod home.
			out.Spec = *spec
		}
	}
	if v.Forbidden() && policy.ToleratesProvider(&out.Spec) {
		requireNodeType(&out.Spec, corev1.NodeSelectorOpNotIn)
	}
	if !v.Off {
		mark(&out.Spec)
		if byDefault := out.Spec.SchedulerName == "" || out.Spec.SchedulerName == corev1.DefaultSchedulerName; byDefault && schedulerName != "" {
			out.Spec.SchedulerName = schedulerName
		}
	}
	return out
}

// keepHome keeps a Pod that is not keyed off virtual nodes, where it tolerates them by itself and may not burst: neither taint nor
// extender would. For good, also where the switch turns on later: such a Pod never asked for the cloud.
func keepHome(pod *corev1.Pod, v verdict.Verdict) *corev1.Pod {
	if v.MayBurst() || !policy.ToleratesProvider(&pod.Spec) {
		return pod
	}
	out := pod.DeepCopy()
	requireNodeType(&out.Spec, corev1.NodeSelectorOpNotIn)
	return out
}

// label writes the burst mode that the Pod has from its workload or namespace on the Pod itself: from here on, everyone looks at the
// Pod only.
func label(pod *corev1.Pod, v verdict.Verdict) {
	if v.Label == policy.ModeNone {
		return
	}
	if own, err := policy.ParseMode(pod.Labels); err != nil || own != policy.ModeNone {
		return
	}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels[policy.BurstLabel] = string(v.Label)
}

// mark makes the scheduler ask the extender about the Pod (managedResources). A Pod that may not burst now is marked too: the
// switch may turn while it waits, and a mark cannot be added later.
func mark(spec *corev1.PodSpec) {
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
