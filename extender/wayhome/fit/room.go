package fit

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"

	"github.com/spillway-k8s/spillway/policy"
)

// amounts are quantities of resources as kube-scheduler counts them: CPU in thousandths, others in whole units.
type amounts map[corev1.ResourceName]int64

func (a amounts) add(list corev1.ResourceList) {
	for name, quantity := range list {
		if name == corev1.ResourceCPU {
			a[name] += quantity.MilliValue()
			continue
		}
		a[name] += quantity.Value()
	}
}

// raise makes every amount at least that of the list.
func (a amounts) raise(list corev1.ResourceList) {
	other := amounts{}
	other.add(list)
	for name, amount := range other {
		a[name] = max(a[name], amount)
	}
}

// requestsOf returns what a new Pod like this one requests. A Pod that is being resized counts with the larger size.
func requestsOf(pod *corev1.Pod) amounts {
	a := amounts{}
	a.raise(resource.PodRequests(pod, resource.PodResourcesOptions{}))
	a.raise(resource.PodRequests(pod, statusOptions(true)))
	delete(a, policy.PlacementResource) // The scheduler ignores it (ignoredByScheduler).
	return a
}

// usedBy returns what a Pod takes of its node: the larger of what it requests, what the kubelet has allocated and what
// is in effect. Resources of the Pod as a whole count with and without those of its status, because a gate of the
// scheduler decides that.
func usedBy(pod *corev1.Pod) amounts {
	a := amounts{}
	a.raise(resource.PodRequests(pod, statusOptions(true)))
	if pod.Status.Resources != nil || pod.Status.AllocatedResources != nil {
		a.raise(resource.PodRequests(pod, statusOptions(false)))
	}
	return a
}

func statusOptions(ofPod bool) resource.PodResourcesOptions {
	return resource.PodResourcesOptions{
		UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: ofPod,
		UseDRANodeAllocatableResourceClaimStatus: true,
	}
}

// hasRoom refuses a node that lacks a resource, or that has as many Pods as it allows. Resources that a device driver
// could offer instead (DRA) do not count.
func (q *question) hasRoom(n *node) refusal {
	if n.pods+1 > n.allocatable[corev1.ResourcePods] {
		return noRoom
	}
	for name, amount := range q.requests {
		if amount > 0 && amount > n.allocatable[name]-n.used[name] {
			return noRoom
		}
	}
	return ""
}

// hostPort is a port of a node.
type hostPort struct {
	ip       string
	protocol corev1.Protocol
	port     int32
}

// everyIP is the address that overlaps with all others (DefaultBindAllHostIP of kube-scheduler).
const everyIP = "0.0.0.0"

// hostPortsOf returns the ports that a Pod uses as long as it runs: those of containers and sidecars.
func hostPortsOf(pod *corev1.Pod) (ports []hostPort) {
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort <= 0 {
				continue
			}
			h := hostPort{p.HostIP, p.Protocol, p.HostPort}
			if h.ip == "" {
				h.ip = everyIP
			}
			if h.protocol == "" {
				h.protocol = corev1.ProtocolTCP
			}
			ports = append(ports, h)
		}
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	return ports
}

func (q *question) portsFree(n *node) refusal {
	for _, wanted := range q.ports {
		for _, taken := range n.ports {
			sameIP := wanted.ip == taken.ip || wanted.ip == everyIP || taken.ip == everyIP
			if sameIP && wanted.protocol == taken.protocol && wanted.port == taken.port {
				return portTaken
			}
		}
	}
	return ""
}
