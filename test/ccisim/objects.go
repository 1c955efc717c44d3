package ccisim

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// object is anything in the store. Stored objects are never changed: a change is a copy that replaces the old one.
type object interface {
	metav1.Object
	// copyObject returns a deep copy.
	copyObject() object
	// setType writes the wire names of the object's kind.
	setType(apiVersion, kind string)
	// meta gives the whole metadata to those who fill it in.
	meta() *metav1.ObjectMeta
}

// Namespace is CCI 2.0's tenant namespace.
type Namespace struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Status            NamespaceStatus `json:"status,omitzero"`
}

// NamespaceStatus is Active or Terminating.
type NamespaceStatus struct {
	Phase corev1.NamespacePhase `json:"phase,omitempty"`
}

// Network is yangtse's network: what gives the Pods of a namespace their addresses.
type Network struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              NetworkSpec   `json:"spec"`
	Status            NetworkStatus `json:"status,omitzero"`
}

// NetworkSpec names the Neutron subnets and security groups.
type NetworkSpec struct {
	NetworkType    string          `json:"networkType,omitempty"`
	SecurityGroups []string        `json:"securityGroups,omitempty"`
	Subnets        []NetworkSubnet `json:"subnets,omitempty"`
	IPFamilies     []string        `json:"ipFamilies,omitempty"`
	DefaultNetwork bool            `json:"defaultNetwork,omitempty"`
}

// NetworkSubnet is one Neutron subnet.
type NetworkSubnet struct {
	SubnetID string `json:"subnetID"`
}

// NetworkStatus tells whether Pods can get addresses.
type NetworkStatus struct {
	Status      string             `json:"status,omitempty"`
	Conditions  []metav1.Condition `json:"conditions,omitempty"`
	SubnetAttrs []SubnetAttr       `json:"subnetAttrs,omitempty"`
}

// SubnetAttr is what the service found out about a subnet.
type SubnetAttr struct {
	NetworkID  string `json:"networkID,omitempty"`
	SubnetV4ID string `json:"subnetV4ID,omitempty"`
	SubnetV6ID string `json:"subnetV6ID,omitempty"`
}

// Pod is CCI 2.0's Pod: Kubernetes' shape, less what the field lists leave out, plus extraEphemeralStorage.
type Pod struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              PodSpec          `json:"spec"`
	Status            corev1.PodStatus `json:"status,omitzero"`
}

// PodSpec adds CCI's own field to Kubernetes' PodSpec.
type PodSpec struct {
	corev1.PodSpec        `json:",inline"`
	ExtraEphemeralStorage *ExtraEphemeralStorage `json:"extraEphemeralStorage,omitempty"`
}

// ExtraEphemeralStorage is disk beyond the free 30 GiB.
type ExtraEphemeralStorage struct {
	SizeInGiB int32 `json:"sizeInGiB"`
}

// ConfigMap, Secret, Event and the two of volumes are Kubernetes' own under another apiVersion.
type (
	ConfigMap struct{ corev1.ConfigMap }
	Secret    struct{ corev1.Secret }
	Event     struct{ corev1.Event }
	// PersistentVolume belongs to the tenant, not to a namespace.
	PersistentVolume      struct{ corev1.PersistentVolume }
	PersistentVolumeClaim struct{ corev1.PersistentVolumeClaim }
)

func (n *Namespace) copyObject() object {
	out := *n
	out.ObjectMeta = *n.ObjectMeta.DeepCopy()
	return &out
}

func (n *Network) copyObject() object {
	out := *n
	out.ObjectMeta = *n.ObjectMeta.DeepCopy()
	out.Spec.SecurityGroups = append([]string(nil), n.Spec.SecurityGroups...)
	out.Spec.Subnets = append([]NetworkSubnet(nil), n.Spec.Subnets...)
	out.Spec.IPFamilies = append([]string(nil), n.Spec.IPFamilies...)
	out.Status.Conditions = append([]metav1.Condition(nil), n.Status.Conditions...)
	out.Status.SubnetAttrs = append([]SubnetAttr(nil), n.Status.SubnetAttrs...)
	return &out
}

func (p *Pod) copyObject() object { return p.deepCopy() }

func (p *Pod) deepCopy() *Pod {
	out := &Pod{TypeMeta: p.TypeMeta, ObjectMeta: *p.ObjectMeta.DeepCopy(), Status: *p.Status.DeepCopy()}
	out.Spec.PodSpec = *p.Spec.PodSpec.DeepCopy()
	if p.Spec.ExtraEphemeralStorage != nil {
		extra := *p.Spec.ExtraEphemeralStorage
		out.Spec.ExtraEphemeralStorage = &extra
	}
	return out
}

func (c *ConfigMap) copyObject() object { return &ConfigMap{*c.ConfigMap.DeepCopy()} }
func (s *Secret) copyObject() object    { return &Secret{*s.Secret.DeepCopy()} }
func (e *Event) copyObject() object     { return &Event{*e.Event.DeepCopy()} }

func (v *PersistentVolume) copyObject() object {
	return &PersistentVolume{*v.PersistentVolume.DeepCopy()}
}

func (c *PersistentVolumeClaim) copyObject() object {
	return &PersistentVolumeClaim{*c.PersistentVolumeClaim.DeepCopy()}
}

func (v *PersistentVolume) setType(apiVersion, kind string) {
	v.TypeMeta = metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

func (c *PersistentVolumeClaim) setType(apiVersion, kind string) {
	c.TypeMeta = metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

func (v *PersistentVolume) meta() *metav1.ObjectMeta      { return &v.ObjectMeta }
func (c *PersistentVolumeClaim) meta() *metav1.ObjectMeta { return &c.ObjectMeta }

func (n *Namespace) setType(apiVersion, kind string) {
	n.TypeMeta = metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

func (n *Network) setType(apiVersion, kind string) {
	n.TypeMeta = metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

func (p *Pod) setType(apiVersion, kind string) {
	p.TypeMeta = metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

func (c *ConfigMap) setType(apiVersion, kind string) {
	c.TypeMeta = metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

func (s *Secret) setType(apiVersion, kind string) {
	s.TypeMeta = metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

func (e *Event) setType(apiVersion, kind string) {
	e.TypeMeta = metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

func (n *Namespace) meta() *metav1.ObjectMeta { return &n.ObjectMeta }
func (n *Network) meta() *metav1.ObjectMeta   { return &n.ObjectMeta }
func (p *Pod) meta() *metav1.ObjectMeta       { return &p.ObjectMeta }
func (c *ConfigMap) meta() *metav1.ObjectMeta { return &c.ObjectMeta }
func (s *Secret) meta() *metav1.ObjectMeta    { return &s.ObjectMeta }
func (e *Event) meta() *metav1.ObjectMeta     { return &e.ObjectMeta }
