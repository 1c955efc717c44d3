// Package objects holds the types of the objects that the simulated CCI serves, and the resources under which it serves
// them, in both generations of the API. It has no state.
package objects

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
)

// Object is any object in the store. A stored object is never changed: an update replaces it with a changed copy.
type Object interface {
	metav1.Object
	// CopyObject returns a deep copy.
	CopyObject() Object
	// SetType sets apiVersion and kind.
	SetType(apiVersion, kind string)
	// Meta returns the metadata, which the caller may fill in while the object is not stored.
	Meta() *metav1.ObjectMeta
}

// KeyOf returns the namespace and name of an object.
func KeyOf(obj Object) types.NamespacedName {
	return types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetName()}
}

// Stamp sets the UID and the creation time of a new object.
func Stamp(obj Object, now time.Time) {
	meta := obj.Meta()
	meta.UID = uuid.NewUUID()
	meta.CreationTimestamp = metav1.NewTime(now)
}

// SetAnnotation sets an annotation.
func SetAnnotation(meta *metav1.ObjectMeta, name, value string) {
	if meta.Annotations == nil {
		meta.Annotations = map[string]string{}
	}
	meta.Annotations[name] = value
}

// SetLabel sets a label.
func SetLabel(meta *metav1.ObjectMeta, name, value string) {
	if meta.Labels == nil {
		meta.Labels = map[string]string{}
	}
	meta.Labels[name] = value
}

// Namespace is CCI 2.0's tenant namespace.
type Namespace struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              corev1.NamespaceSpec `json:"spec,omitzero"`
	Status            NamespaceStatus      `json:"status,omitzero"`
}

// NamespaceStatus is Active or Terminating.
type NamespaceStatus struct {
	Phase corev1.NamespacePhase `json:"phase,omitempty"`
}

// Network is a network of yangtse, the network service of CCI. The Pods of a namespace get their addresses from it.
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

// NetworkStatus reports whether Pods can get addresses.
type NetworkStatus struct {
	Status      string             `json:"status,omitempty"`
	Conditions  []metav1.Condition `json:"conditions,omitempty"`
	SubnetAttrs []SubnetAttr       `json:"subnetAttrs,omitempty"`
}

// SubnetAttr describes a subnet as the service found it.
type SubnetAttr struct {
	NetworkID  string `json:"networkID,omitempty"`
	SubnetV4ID string `json:"subnetV4ID,omitempty"`
	SubnetV6ID string `json:"subnetV6ID,omitempty"`
}

// Pod is CCI 2.0's Pod: a Kubernetes Pod with extraEphemeralStorage. Package api lists the fields that requests may
// set.
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

// ConfigMap, Secret, Event, PersistentVolume and PersistentVolumeClaim are those of Kubernetes under another
// apiVersion.
type (
	ConfigMap struct{ corev1.ConfigMap }
	Secret    struct{ corev1.Secret }
	Event     struct{ corev1.Event }
	// PersistentVolume belongs to the tenant, not to a namespace.
	PersistentVolume      struct{ corev1.PersistentVolume }
	PersistentVolumeClaim struct{ corev1.PersistentVolumeClaim }
)

// The methods below implement Object.

func (n *Namespace) CopyObject() Object {
	out := *n
	out.ObjectMeta = *n.ObjectMeta.DeepCopy()
	out.Spec = *n.Spec.DeepCopy()
	return &out
}

func (n *Network) CopyObject() Object {
	out := *n
	out.ObjectMeta = *n.ObjectMeta.DeepCopy()
	out.Spec.SecurityGroups = append([]string(nil), n.Spec.SecurityGroups...)
	out.Spec.Subnets = append([]NetworkSubnet(nil), n.Spec.Subnets...)
	out.Spec.IPFamilies = append([]string(nil), n.Spec.IPFamilies...)
	out.Status.Conditions = append([]metav1.Condition(nil), n.Status.Conditions...)
	out.Status.SubnetAttrs = append([]SubnetAttr(nil), n.Status.SubnetAttrs...)
	return &out
}

func (p *Pod) CopyObject() Object { return p.DeepCopy() }

// DeepCopy returns a deep copy.
func (p *Pod) DeepCopy() *Pod {
	out := &Pod{TypeMeta: p.TypeMeta, ObjectMeta: *p.ObjectMeta.DeepCopy(), Status: *p.Status.DeepCopy()}
	out.Spec.PodSpec = *p.Spec.PodSpec.DeepCopy()
	if p.Spec.ExtraEphemeralStorage != nil {
		extra := *p.Spec.ExtraEphemeralStorage
		out.Spec.ExtraEphemeralStorage = &extra
	}
	return out
}

func (c *ConfigMap) CopyObject() Object { return &ConfigMap{*c.ConfigMap.DeepCopy()} }
func (s *Secret) CopyObject() Object    { return &Secret{*s.Secret.DeepCopy()} }
func (e *Event) CopyObject() Object     { return &Event{*e.Event.DeepCopy()} }

func (v *PersistentVolume) CopyObject() Object {
	return &PersistentVolume{*v.PersistentVolume.DeepCopy()}
}

func (c *PersistentVolumeClaim) CopyObject() Object {
	return &PersistentVolumeClaim{*c.PersistentVolumeClaim.DeepCopy()}
}

func (v *PersistentVolume) SetType(apiVersion, kind string) {
	v.TypeMeta = metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

func (c *PersistentVolumeClaim) SetType(apiVersion, kind string) {
	c.TypeMeta = metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

func (v *PersistentVolume) Meta() *metav1.ObjectMeta      { return &v.ObjectMeta }
func (c *PersistentVolumeClaim) Meta() *metav1.ObjectMeta { return &c.ObjectMeta }

func (n *Namespace) SetType(apiVersion, kind string) {
	n.TypeMeta = metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

func (n *Network) SetType(apiVersion, kind string) {
	n.TypeMeta = metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

func (p *Pod) SetType(apiVersion, kind string) {
	p.TypeMeta = metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

func (c *ConfigMap) SetType(apiVersion, kind string) {
	c.TypeMeta = metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

func (s *Secret) SetType(apiVersion, kind string) {
	s.TypeMeta = metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

func (e *Event) SetType(apiVersion, kind string) {
	e.TypeMeta = metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

func (n *Namespace) Meta() *metav1.ObjectMeta { return &n.ObjectMeta }
func (n *Network) Meta() *metav1.ObjectMeta   { return &n.ObjectMeta }
func (p *Pod) Meta() *metav1.ObjectMeta       { return &p.ObjectMeta }
func (c *ConfigMap) Meta() *metav1.ObjectMeta { return &c.ObjectMeta }
func (s *Secret) Meta() *metav1.ObjectMeta    { return &s.ObjectMeta }
func (e *Event) Meta() *metav1.ObjectMeta     { return &e.ObjectMeta }
