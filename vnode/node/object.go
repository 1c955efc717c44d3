// Package node maintains the virtual node in the cluster: the Node object with its labels, taint and capacity, its
// status and its Lease. It does not handle Pods: package provider does.
package node

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/policy"
)

// Reasons of the conditions that every Node has.
const (
	// ReasonCloudReady: Ready is True. Conditions of their own report the faults of the cloud.
	ReasonCloudReady = "CloudReady"
	// ReasonNoHost: MemoryPressure, DiskPressure and PIDPressure are False, because the node is not a machine.
	ReasonNoHost = "NoHost"
	// ReasonNetworkReady: NetworkUnavailable is False. The network in the cloud is set up.
	ReasonNetworkReady = "NetworkReady"
)

// kubeletVersion returns the version in the status of the node: the version of the API that it was built for.
func kubeletVersion() string { return run.KubernetesVersion() + "-spillway" }

// Config is the content of the Node.
type Config struct {
	// Name is the name of the Node.
	Name string
	// ClusterID is the value of a label.
	ClusterID string
	// IP and Port are where the API server reaches the kubelet port.
	IP   string
	Port int32
	// Region and Zone are the values of the topology labels. Optional.
	Region, Zone string
	// Labels and Taints are those of the operator, in addition to those of every virtual node.
	Labels map[string]string
	Taints []corev1.Taint
	// HostnameLabel gives the Node the label kubernetes.io/hostname, which makes all its Pods those of one host.
	HostnameLabel bool
	// TopologyHints lets the CPU of the Node count for the topology hints of Services.
	TopologyHints bool
	// Capacity limits what the scheduler may place. No capacity in the cloud is reserved for it.
	Capacity corev1.ResourceList
}

// Capacity returns the resource list of a node.
func Capacity(cpu, memory, storage resource.Quantity, pods int64) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory, corev1.ResourceEphemeralStorage: storage,
		corev1.ResourcePods: *resource.NewQuantity(pods, resource.DecimalSI),
	}
}

// object returns the Node as it is registered.
func object(c Config) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: c.Name, Labels: labels(c)},
		Spec:       corev1.NodeSpec{Taints: taints(c)},
		Status: corev1.NodeStatus{
			Capacity:    c.Capacity,
			Allocatable: c.Capacity,
			Conditions:  conditions(),
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: c.IP}, {Type: corev1.NodeHostName, Address: c.Name},
			},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: c.Port}},
			NodeInfo: corev1.NodeSystemInfo{
				KubeletVersion: kubeletVersion(), OperatingSystem: "linux", Architecture: "amd64",
				OSImage: "Huawei Cloud CCI 2.0", ContainerRuntimeVersion: "cci://2.0",
			},
		},
	}
}

// noHintsLabel is the label by which the EndpointSlice controller leaves a node out when it distributes the endpoints
// of Services over zones, by the CPU of the nodes in each. There is one more such label, of the control plane, which
// far more programs read. Source: Kubernetes v1.36, k8s.io/endpointslice/topologycache.
const noHintsLabel = "node-role.kubernetes.io/master"

func labels(c Config) map[string]string {
	all := map[string]string{
		policy.CloudClusterKey:         c.ClusterID,
		corev1.LabelOSStable:           "linux",
		corev1.LabelArchStable:         "amd64",
		"kubernetes.io/role":           "agent",
		corev1.LabelInstanceTypeStable: "cci",
		// Load balancers must not send traffic to the node: it has no ports.
		corev1.LabelNodeExcludeBalancers: "true",
	}
	maps.Copy(all, policy.VirtualNodeLabels())
	if c.Region != "" {
		all[corev1.LabelTopologyRegion] = c.Region
	}
	if c.Zone != "" {
		all[corev1.LabelTopologyZone] = c.Zone
	}
	if c.HostnameLabel {
		all[corev1.LabelHostname] = c.Name
	}
	if !c.TopologyHints {
		all[noHintsLabel] = ""
	}
	for key, value := range c.Labels {
		if _, taken := all[key]; !taken {
			all[key] = value
		}
	}
	return all
}

// IsReservedLabel reports whether an operator must not configure a label, because virtual nodes set it themselves.
func IsReservedLabel(key string) bool {
	_, own := labels(Config{Region: "r", Zone: "z", HostnameLabel: true})[key]
	return own
}

// taints returns the taints that the Node must have.
func taints(c Config) []corev1.Taint {
	return append([]corev1.Taint{policy.ProviderTaint()}, c.Taints...)
}

func conditions() []corev1.NodeCondition {
	now := metav1.Now()
	condition := func(
		kind corev1.NodeConditionType, status corev1.ConditionStatus, reason, message string,
	) corev1.NodeCondition {
		return corev1.NodeCondition{
			Type: kind, Status: status, Reason: reason, Message: message,
			LastHeartbeatTime: now, LastTransitionTime: now,
		}
	}
	return []corev1.NodeCondition{
		condition(corev1.NodeReady, corev1.ConditionTrue, ReasonCloudReady, "the cloud accepts Pods"),
		condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, ReasonNoHost,
			"the node is not a machine: it has no memory"),
		condition(corev1.NodeDiskPressure, corev1.ConditionFalse, ReasonNoHost,
			"the node is not a machine: it has no disk"),
		condition(corev1.NodePIDPressure, corev1.ConditionFalse, ReasonNoHost,
			"the node is not a machine: it has no processes"),
		condition(corev1.NodeNetworkUnavailable, corev1.ConditionFalse, ReasonNetworkReady,
			"the network in the cloud is set up"),
	}
}
