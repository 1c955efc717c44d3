package services

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// object is an object of the cluster as clients get it: JSON, which all streams share, and what selectors need of it.
type object struct {
	namespace, name string
	// version is the resource version. Its digits in json begin at digits and end at rest.
	version      uint64
	json         []byte
	digits, rest int
	labels       labels.Set
	// fields are the fields that a field selector can name.
	fields fields.Set
}

// encode returns a Service, an EndpointSlice or a Node as clients get it. It changes its argument.
func encode(item any) (*object, error) {
	var meta *metav1.ObjectMeta
	selectable := fields.Set{}
	switch o := item.(type) {
	case *corev1.Service:
		o.TypeMeta, meta = kindService.typeMeta(), &o.ObjectMeta
		selectable[fieldClusterIP], selectable[fieldType] = o.Spec.ClusterIP, string(o.Spec.Type)
	case *discoveryv1.EndpointSlice:
		o.TypeMeta, meta = kindEndpointSlice.typeMeta(), &o.ObjectMeta
		for i := range o.Endpoints {
			o.Endpoints[i].TargetRef, o.Endpoints[i].DeprecatedTopology = nil, nil
		}
	case *corev1.Node:
		o.TypeMeta, meta = kindNode.typeMeta(), &o.ObjectMeta
		o.Spec = corev1.NodeSpec{PodCIDR: o.Spec.PodCIDR, PodCIDRs: o.Spec.PodCIDRs}
		o.Status = corev1.NodeStatus{Addresses: o.Status.Addresses}
	default:
		return nil, fmt.Errorf("encoding an object of type %T: this package does not serve it", item)
	}
	version, err := strconv.ParseUint(meta.ResourceVersion, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("encoding %s/%s: resource version %q is no number: %w",
			meta.Namespace, meta.Name, meta.ResourceVersion, err)
	}
	*meta = trim(*meta)
	text, err := json.Marshal(item)
	if err != nil {
		return nil, fmt.Errorf("encoding %s/%s: %w", meta.Namespace, meta.Name, err)
	}
	selectable[metav1.ObjectNameField], selectable[fieldNamespace] = meta.Name, meta.Namespace
	// Before it there are only names, in which quotation marks would be escaped.
	const key = `"resourceVersion":"`
	digits := bytes.Index(text, []byte(key)) + len(key)
	return &object{
		namespace: meta.Namespace, name: meta.Name, version: version,
		json: bytes.Clone(text), digits: digits, rest: digits + len(meta.ResourceVersion),
		labels: meta.Labels, fields: selectable,
	}, nil
}

// trim returns the metadata that a proxy needs. The rest is more than half of a small object, and who has created it
// is not the business of every Pod.
func trim(meta metav1.ObjectMeta) metav1.ObjectMeta {
	kept := map[string]string{}
	for key, value := range meta.Annotations {
		if strings.HasPrefix(key, "service.kubernetes.io/") || key == corev1.EndpointsLastChangeTriggerTime {
			kept[key] = value
		}
	}
	return metav1.ObjectMeta{
		Namespace: meta.Namespace, Name: meta.Name, UID: meta.UID, ResourceVersion: meta.ResourceVersion,
		CreationTimestamp: meta.CreationTimestamp, DeletionTimestamp: meta.DeletionTimestamp,
		Labels: meta.Labels, Annotations: kept,
	}
}

// key identifies the object in its cache.
func (o *object) key() string { return o.namespace + "/" + o.name }

// kind is a kind of object that the server has.
type kind struct{ apiVersion, name string }

var (
	kindService       = kind{"v1", "Service"}
	kindEndpointSlice = kind{"discovery.k8s.io/v1", "EndpointSlice"}
	kindNode          = kind{"v1", "Node"}
	kindServiceCIDR   = kind{"networking.k8s.io/v1", "ServiceCIDR"}
)

func (k kind) typeMeta() metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: k.apiVersion, Kind: k.name}
}
