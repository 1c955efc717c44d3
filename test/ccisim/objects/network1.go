package objects

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// States of networks. CCI 2.0 has the first four in status.status, CCI 1.0 all but Ready in status.state.
const (
	NetworkPending        = "Pending"
	NetworkReady          = "Ready"
	NetworkFailed         = "Failed"
	NetworkIPInsufficient = "IPInsufficient"
	NetworkInitializing   = "Initializing"
	NetworkActive         = "Active"
)

// AnyNetwork is a network of either generation, as far as a Pod depends on it.
type AnyNetwork interface {
	Object
	// State returns the network's state and whether Pods can get addresses.
	State() (state string, ready bool)
}

// State implements AnyNetwork.
func (n *Network) State() (state string, ready bool) {
	return n.Status.Status, n.Status.Status == NetworkReady
}

// Network1 is CCI 1.0's network: one subnet, and the security group in an annotation.
type Network1 struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              Network1Spec   `json:"spec"`
	Status            Network1Status `json:"status,omitzero"`
}

// Network1Spec names the subnet by its Neutron IDs.
type Network1Spec struct {
	NetworkType   string `json:"networkType,omitempty"`
	AttachedVPC   string `json:"attachedVPC,omitempty"`
	NetworkID     string `json:"networkID,omitempty"`
	SubnetID      string `json:"subnetID,omitempty"`
	AvailableZone string `json:"availableZone,omitempty"`
	CIDR          string `json:"cidr,omitempty"`
}

// Network1Status is Initializing, Pending, Active or Failed.
type Network1Status struct {
	State   string `json:"state,omitempty"`
	Message string `json:"message,omitempty"`
}

// State implements AnyNetwork.
func (n *Network1) State() (state string, ready bool) {
	return n.Status.State, n.Status.State == NetworkActive
}

// CopyObject implements Object.
func (n *Network1) CopyObject() Object {
	out := *n
	out.ObjectMeta = *n.ObjectMeta.DeepCopy()
	return &out
}

// SetType implements Object.
func (n *Network1) SetType(apiVersion, kind string) {
	n.TypeMeta = metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

// Meta implements Object.
func (n *Network1) Meta() *metav1.ObjectMeta { return &n.ObjectMeta }
