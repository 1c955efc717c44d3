package cci

import (
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotations of CCI 1.0. Source: CCI API (CCI 1.0), "Creating a namespace" and "Creating a network".
const (
	flavorAnnotation1        = "namespace.kubernetes.io/flavor"
	securityGroupAnnotation1 = "network.alpha.kubernetes.io/default-security-group"
	projectAnnotation1       = "network.alpha.kubernetes.io/project-id"
	domainAnnotation1        = "network.alpha.kubernetes.io/domain-id"
)

// generalComputing is the flavor of namespaces without GPUs.
const generalComputing = "general-computing"

// networkActive1 is the state of CCI 1.0 that corresponds to NetworkReady. The states before it are not used here.
const networkActive1 = "Active"

// network1 is a network of CCI 1.0, which has one subnet and one security group.
type network1 struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		NetworkType   string `json:"networkType,omitempty"`
		AttachedVPC   string `json:"attachedVPC,omitempty"`
		NetworkID     string `json:"networkID,omitempty"`
		SubnetID      string `json:"subnetID,omitempty"`
		AvailableZone string `json:"availableZone,omitempty"`
		CIDR          string `json:"cidr,omitempty"`
	} `json:"spec"`
	Status struct {
		State   string `json:"state,omitempty"`
		Message string `json:"message,omitempty"`
	} `json:"status,omitzero"`
}

// newNetwork1 converts a network to the type of CCI 1.0.
func newNetwork1(n *Network) *network1 {
	out := &network1{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.cci.io/v1beta1", Kind: "Network"},
		ObjectMeta: n.ObjectMeta,
	}
	out.Annotations = maps.Clone(n.Annotations)
	if out.Annotations == nil {
		out.Annotations = map[string]string{}
	}
	for from, to := range map[string]string{
		NetworkProjectAnnotation: projectAnnotation1,
		NetworkDomainAnnotation:  domainAnnotation1,
	} {
		if id := out.Annotations[from]; id != "" {
			out.Annotations[to] = id
		}
		delete(out.Annotations, from)
	}
	if len(n.Spec.SecurityGroups) > 0 {
		out.Annotations[securityGroupAnnotation1] = n.Spec.SecurityGroups[0]
	}
	out.Spec.NetworkType, out.Spec.AttachedVPC, out.Spec.NetworkID = n.Spec.NetworkType, n.Spec.VPCID, n.Spec.NetworkID
	out.Spec.AvailableZone, out.Spec.CIDR = n.Spec.AvailabilityZone, n.Spec.CIDR
	if len(n.Spec.Subnets) > 0 {
		out.Spec.SubnetID = n.Spec.Subnets[0].SubnetID
	}
	return out
}

// network converts a network of CCI 1.0 to the type of CCI 2.0.
func (n *network1) network() *Network {
	out := &Network{ObjectMeta: n.ObjectMeta, Spec: NetworkSpec{
		NetworkType: n.Spec.NetworkType, Subnets: []Subnet{{SubnetID: n.Spec.SubnetID}}, VPCID: n.Spec.AttachedVPC,
		NetworkID: n.Spec.NetworkID, AvailabilityZone: n.Spec.AvailableZone, CIDR: n.Spec.CIDR,
	}}
	if group := n.Annotations[securityGroupAnnotation1]; group != "" {
		out.Spec.SecurityGroups = []string{group}
	}
	out.Status.Status = n.Status.State
	if n.Status.State == networkActive1 {
		out.Status.Status = NetworkReady
	}
	if n.Status.Message != "" {
		out.Status.Conditions = []metav1.Condition{
			{Type: "State", Status: metav1.ConditionUnknown, Message: n.Status.Message},
		}
	}
	return out
}
