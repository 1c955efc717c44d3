package cci

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// networkAPIVersion is the apiVersion of networks in CCI 2.0. Networks of CCI 1.0 have the type network1.
const networkAPIVersion = "yangtse/v2"

// Namespace is a cloud namespace, which contains Pods and networks. It is not a namespace of the cluster.
type Namespace struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Status            NamespaceStatus `json:"status,omitzero"`
}

// NamespaceStatus contains the phase: Active or Terminating.
type NamespaceStatus struct {
	Phase corev1.NamespacePhase `json:"phase,omitempty"`
}

// Network gives addresses to the Pods of a namespace. A namespace needs a Ready network before a Pod can start.
type Network struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              NetworkSpec   `json:"spec"`
	Status            NetworkStatus `json:"status,omitzero"`
}

// NetworkTypeNeutron is the only network type. The service refuses the spelling with a dash instead of the underscore.
// Source: CCI API, "Creating a network".
const NetworkTypeNeutron = "underlay_neutron"

// Annotations of a network. Source: CCI API, "Creating a network".
const (
	NetworkProjectAnnotation = "yangtse.io/project-id"
	NetworkDomainAnnotation  = "yangtse.io/domain-id"

	// WarmPoolSizeAnnotation is how many addresses the service keeps ready in a network, so that a Pod need not wait
	// for one. WarmPoolRecycleAnnotation is how many hours it keeps idle addresses above that number. Source: the
	// vendor's Terraform provider, the example of huaweicloud_cciv2_network, and the same settings in
	// huaweicloud_cci_namespace. No page of CCI 2.0 describes them.
	WarmPoolSizeAnnotation    = "yangtse.io/warm-pool-size"
	WarmPoolRecycleAnnotation = "yangtse.io/warm-pool-recycle-interval"
)

// NetworkSpec describes a network.
type NetworkSpec struct {
	NetworkType    string   `json:"networkType,omitempty"`
	SecurityGroups []string `json:"securityGroups,omitempty"`
	// Subnets are subnets of the VPC. Their IDs are those of Neutron, not those that the VPC console calls subnet IDs.
	Subnets        []Subnet `json:"subnets,omitempty"`
	IPFamilies     []string `json:"ipFamilies,omitempty"`
	DefaultNetwork bool     `json:"defaultNetwork,omitempty"`

	// VPCID, NetworkID, AvailabilityZone and CIDR are used by CCI 1.0 only, which does not derive them from the subnet.
	// There a network has one subnet and one security group, and NetworkID is the ID of the Neutron network.
	VPCID            string `json:"-"`
	NetworkID        string `json:"-"`
	AvailabilityZone string `json:"-"`
	CIDR             string `json:"-"`
}

// Subnet is one Neutron IPv4 subnet.
type Subnet struct {
	SubnetID string `json:"subnetID"`
}

// The states of a network.
const (
	NetworkReady          = "Ready"
	NetworkFailed         = "Failed"
	NetworkIPInsufficient = "IPInsufficient"
)

// NetworkStatus reports whether Pods can get addresses.
type NetworkStatus struct {
	Status     string             `json:"status,omitempty"`
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Reasons returns the conditions that are not True, with their reasons and messages.
func (s *NetworkStatus) Reasons() string {
	var texts []string
	for _, c := range s.Conditions {
		if c.Status != metav1.ConditionTrue {
			texts = append(texts, strings.TrimSpace(c.Type+" "+c.Reason+" "+c.Message))
		}
	}
	if len(texts) == 0 {
		return "no reason given"
	}
	return strings.Join(texts, "; ")
}

// Pod is a cloud Pod.
type Pod struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              PodSpec `json:"spec"`
	// Status has the type of Kubernetes. It has no hostIP, and the additional phase PodStopped.
	Status corev1.PodStatus `json:"status,omitzero"`
	// RefusedAddress is an address of the Pod that Config.Addresses does not allow, and why. The client removes it from
	// the status.
	RefusedAddress string `json:"-"`
}

// HasAddress reports whether the cloud has given the Pod an address, even if it is one that is not used.
func (p *Pod) HasAddress() bool { return p.Status.PodIP != "" || p.RefusedAddress != "" }

// PodStopped is a phase that Kubernetes does not have. The schema lists it without describing when it occurs. Source:
// CCI API, "PodStatus".
const PodStopped corev1.PodPhase = "Stopped"

// PodList is one page of Pods.
type PodList struct {
	// ResourceVersion is where a watch continues.
	ResourceVersion string
	// Continue is the continue token of the next page. It is empty on the last page.
	Continue string
	Items    []Pod
	// Objects is the number of Pods of the page, including those that ListOptions.Keep has left out.
	Objects int
}

// Annotations of a Pod that the service reads or writes. Source: CCI API, "Pod annotations".
const (
	// SizeAnnotation is the size that is billed. The service writes it.
	SizeAnnotation = "resource.cci.io/size"
	// ExporterAnnotation "false" disables the metrics exporter of a Pod. ExporterPortAnnotation sets its port.
	ExporterAnnotation     = "monitoring.cci.io/enable-pod-metrics"
	ExporterPortAnnotation = "monitoring.cci.io/metrics-port"
)

// ExporterPort is the default port of the metrics exporter. Source: CCI manual, "Enabling Pod metrics".
const ExporterPort = 19100
