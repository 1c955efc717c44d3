package cost

import (
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/component-helpers/resource"
	schedulinghelpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"github.com/spillway-k8s/spillway/policy"
)

// room is what the local nodes have left.
type room struct{ spaces []*space }

// space is what one node has left.
type space struct {
	node *corev1.Node
	free corev1.ResourceList
}

// newRoom returns what is left on the local nodes that take Pods. pods are all Pods of the cluster.
func newRoom(nodes []*corev1.Node, pods []*corev1.Pod) room {
	var r room
	byName := map[string]*space{}
	for _, node := range nodes {
		if policy.IsVirtualNode(node.Labels) || node.Spec.Unschedulable || !isReady(node) {
			continue
		}
		s := &space{node, node.Status.Allocatable.DeepCopy()}
		r.spaces, byName[node.Name] = append(r.spaces, s), s
	}
	for _, pod := range pods {
		if s := byName[pod.Spec.NodeName]; s != nil && !policy.HasEnded(pod) {
			s.take(requests(pod))
		}
	}
	return r
}

func isReady(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// requests returns what the scheduler counts of a Pod, and the Pod itself. The marker is no resource of a node.
func requests(pod *corev1.Pod) corev1.ResourceList {
	list := resource.PodRequests(pod, resource.PodResourcesOptions{UseStatusResources: true})
	list[corev1.ResourcePods] = *apiresource.NewQuantity(1, apiresource.DecimalSI)
	delete(list, policy.PlacementResource)
	return list
}

// take gives a Pod the first node that it fits on. It reports whether there is one.
func (r room) take(pod *corev1.Pod) bool {
	wanted, affinity := requests(pod), nodeaffinity.GetRequiredNodeAffinity(pod)
	for _, s := range r.spaces {
		if s.holds(wanted) && s.admits(pod, affinity) {
			s.take(wanted)
			return true
		}
	}
	return false
}

func (s *space) holds(wanted corev1.ResourceList) bool {
	for name, quantity := range wanted {
		if free := s.free[name]; free.Cmp(quantity) < 0 {
			return false
		}
	}
	return true
}

// admits reports whether the taints of the node, and the node selector and affinity of the Pod, let the Pod run there.
func (s *space) admits(pod *corev1.Pod, affinity nodeaffinity.RequiredNodeAffinity) bool {
	matters := func(taint *corev1.Taint) bool { return taint.Effect != corev1.TaintEffectPreferNoSchedule }
	_, refused := schedulinghelpers.FindMatchingUntoleratedTaint(klog.Logger{}, s.node.Spec.Taints,
		pod.Spec.Tolerations, matters, false)
	if refused {
		return false
	}
	matches, err := affinity.Match(s.node)
	return err == nil && matches
}

func (s *space) take(wanted corev1.ResourceList) {
	for name, quantity := range wanted {
		free := s.free[name]
		free.Sub(quantity)
		s.free[name] = free
	}
}
