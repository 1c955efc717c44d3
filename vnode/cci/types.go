package cci

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// networkAPIVersion is that of networks in CCI 2.0; those of 1.0 are network1.
const networkAPIVersion = "yangtse/v2"

// Namespace is where Pods and networks are. It is none of the cluster's namespaces.
type Namespace struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Status            NamespaceStatus `json:"status,omitzero"`
}

// NamespaceStatus holds the phase: Active or Terminating.
type NamespaceStatus struct {
	Phase corev1.NamespacePhase `json:"phase,omitempty"`
}

// Network gives the Pods of a namespace their addresses. There must be a Ready one before any Pod can start.
type Network struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              NetworkSpec   `json:"spec"`
	Status            NetworkStatus `json:"status,omitzero"`
}

// NetworkTypeNeutron is the only network type. Source: CCI API; with a dash in place of the underscore it is refused.
const NetworkTypeNeutron = "underlay_neutron"

// Annotations of a network. Source: CCI API, "Creating a network".
const (
	NetworkProjectAnnotation = "yangtse.io/project-id"
	NetworkDomainAnnotation  = "yangtse.io/domain-id"
)

// NetworkSpec names what the network is made of.
type NetworkSpec struct {
	NetworkType    string   `json:"networkType,omitempty"`
	SecurityGroups []string `json:"securityGroups,omitempty"`
	// Subnets are in the VPC. Their ids are Neutron's, not those that the VPC console calls subnet ids.
	Subnets        []Subnet `json:"subnets,omitempty"`
	IPFamilies     []string `json:"ipFamilies,omitempty"`
	DefaultNetwork bool     `json:"defaultNetwork,omitempty"`

	// VPCID, NetworkID, AvailabilityZone and CIDR are of CCI 1.0 alone, which finds nothing out by itself. There a network has one subnet
	// and one security group, and NetworkID is Neutron's.
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

// NetworkStatus tells whether Pods can get addresses.
type NetworkStatus struct {
	Status     string             `json:"status,omitempty"`
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Pod is a Pod of the cloud.
type Pod struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              PodSpec `json:"spec"`
	// Status has the shape of Kubernetes, without hostIP, and with the phase PodStopped beside the known ones.
	Status corev1.PodStatus `json:"status,omitzero"`
}

// PodStopped is a phase that Kubernetes does not have. The service's schema lists it without saying when it comes.
const PodStopped corev1.PodPhase = "Stopped"

// PodList is one page of Pods.
type PodList struct {
	// ResourceVersion is where a watch goes on.
	ResourceVersion string
	// Continue asks for the next page; empty after the last.
	Continue string
	Items    []Pod
}

// Annotations of a Pod that the service reads or writes. Source: CCI API, Pod annotations.
const (
	// SizeAnnotation is written by the service: the size that is billed.
	SizeAnnotation = "resource.cci.io/size"
	// ExporterAnnotation "false" takes the exporter of CPU and memory out of a Pod, ExporterPortAnnotation chooses its port.
	ExporterAnnotation     = "monitoring.cci.io/enable-pod-metrics"
	ExporterPortAnnotation = "monitoring.cci.io/metrics-port"
)

// ExporterPort is where the exporter of a Pod listens that does not choose.
const ExporterPort = 19100
