package fit

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/component-helpers/nodedeclaredfeatures"
	schedulinghelpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// node is a node with what its Pods and the Pods that are nominated to it take.
type node struct {
	*corev1.Node
	allocatable amounts
	used        amounts
	pods        int64
	ports       []hostPort
	// volumes is at least the number of volumes that are attached, or will be for Pods.
	volumes int
	// nominated are Pods that the scheduler expects here, but that may come to run elsewhere.
	nominated []*corev1.Pod
}

func newNode(object *corev1.Node) *node {
	n := &node{Node: object, allocatable: amounts{}, used: amounts{}, volumes: len(object.Status.VolumesAttached)}
	n.allocatable.add(object.Status.Allocatable)
	return n
}

func (n *node) add(pod *corev1.Pod, nominated bool) {
	n.pods++
	for name, amount := range usedBy(pod) {
		n.used[name] += amount
	}
	n.ports = append(n.ports, hostPortsOf(pod)...)
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.PersistentVolumeClaim != nil || v.Ephemeral != nil {
			n.volumes++
		}
	}
	if nominated {
		n.nominated = append(n.nominated, pod)
	}
}

// healthy refuses a node that is not ready, is under pressure or is being deleted. The scheduler looks only at the
// taints that follow from the conditions. They follow later, and a Pod could tolerate them, but should not move there.
func healthy(n *node) refusal {
	ready := false
	for _, c := range n.Status.Conditions {
		switch c.Type {
		case corev1.NodeReady:
			ready = c.Status == corev1.ConditionTrue
		case corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure, corev1.NodeNetworkUnavailable:
			if c.Status == corev1.ConditionTrue {
				return notReady
			}
		}
	}
	if !ready || n.DeletionTimestamp != nil {
		return notReady
	}
	return ""
}

// nodeRules is what a Pod demands of a node, whatever runs there.
type nodeRules struct {
	tolerations []corev1.Toleration
	affinity    nodeaffinity.RequiredNodeAffinity
	features    nodedeclaredfeatures.FeatureSet
	unknown     bool
}

func newNodeRules(pod *corev1.Pod) nodeRules {
	r := nodeRules{tolerations: pod.Spec.Tolerations, affinity: nodeaffinity.GetRequiredNodeAffinity(pod)}
	// Version 0 requires every feature, also one that newer versions no longer ask for.
	features, err := nodedeclaredfeatures.DefaultFramework.InferForPodScheduling(
		&nodedeclaredfeatures.PodInfo{Spec: &pod.Spec}, version.MajorMinor(0, 0))
	r.features, r.unknown = features, err != nil
	return r
}

func (r nodeRules) check(n *node) refusal {
	if n.Spec.Unschedulable && !r.tolerates(&corev1.Taint{
		Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule,
	}) {
		return cordoned
	}
	for i := range n.Spec.Taints {
		if taint := &n.Spec.Taints[i]; taint.Effect != corev1.TaintEffectPreferNoSchedule && !r.tolerates(taint) {
			return cordoned
		}
	}
	if matches, err := r.affinity.Match(n.Node); err != nil || !matches {
		return notSelected
	}
	if r.features.IsEmpty() && !r.unknown {
		return ""
	}
	result, err := nodedeclaredfeatures.DefaultFramework.MatchNode(r.features, n.Node)
	if r.unknown || err != nil || !result.IsMatch {
		return notSelected
	}
	return ""
}

// tolerates reports whether the Pod can stay on a node with the taint. The scheduler would also bind a Pod that
// tolerates NoExecute for some seconds, only for it to be evicted then. Numeric comparisons of tolerations count as
// not tolerated, because clusters have them or not.
func (r nodeRules) tolerates(taint *corev1.Taint) bool {
	for i := range r.tolerations {
		t := &r.tolerations[i]
		lasting := taint.Effect != corev1.TaintEffectNoExecute || t.TolerationSeconds == nil
		if lasting && t.ToleratesTaint(klog.Logger{}, taint, false) {
			return true
		}
	}
	return false
}

// untolerated reports whether the scheduler sees a taint that the Pod does not tolerate, as topology spread
// constraints ask.
func (r nodeRules) untolerated(n *node) bool {
	_, found := schedulinghelpers.FindMatchingUntoleratedTaint(klog.Logger{}, n.Spec.Taints, r.tolerations,
		func(t *corev1.Taint) bool { return t.Effect != corev1.TaintEffectPreferNoSchedule }, true)
	return found
}
