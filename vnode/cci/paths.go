package cci

import (
	"strings"

	"github.com/spillway-k8s/spillway/policy"
)

// paths returns the URL paths and API versions of one generation of CCI. CCI 2.0 has API groups of its own, CCI 1.0 is
// a plain Kubernetes API. An object that is created in one generation is not found in the other. The zero value is CCI
// 2.0. Source: CCI API reference, "Namespace", "Pod", "Network" of both generations.
type paths struct{ version policy.CCIVersion }

// apiVersion returns the apiVersion of all objects except networks.
func (p paths) apiVersion() string {
	if p.version == policy.CCI1 {
		return "v1"
	}
	return "cci/v2"
}

// namespaces returns the path of all namespaces, or of the namespace and the resource in it that the elements name.
func (p paths) namespaces(elements ...string) string {
	if p.version == policy.CCI1 {
		return join("/api/v1/namespaces", elements)
	}
	return join("/apis/cci/v2/namespaces", elements)
}

// pods returns the path of all Pods of a namespace, or of one Pod and its subresource.
func (p paths) pods(namespace string, elements ...string) string {
	return join(p.namespaces(namespace, "pods"), elements)
}

// networks returns the path of all networks of a namespace, or of one network.
func (p paths) networks(namespace string, elements ...string) string {
	if p.version == policy.CCI1 {
		return join("/apis/networking.cci.io/v1beta1/namespaces/"+namespace+"/networks", elements)
	}
	return join("/apis/yangtse/v2/namespaces/"+namespace+"/networks", elements)
}

// data returns the path of all ConfigMaps or Secrets of a namespace, or of one.
func (p paths) data(kind DataKind, namespace string, name ...string) string {
	return p.namespaces(append([]string{namespace, strings.ToLower(string(kind)) + "s"}, name...)...)
}

func join(path string, elements []string) string {
	return strings.Join(append([]string{path}, elements...), "/")
}
