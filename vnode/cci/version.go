package cci

import (
	"fmt"
	"strings"
)

// Version is a generation of the service. Their namespaces are two worlds: what is made in the one is not found in the other.
type Version string

// The generations: V2 has groups of its own, V1 is a plain Kubernetes API.
const (
	V2 Version = "2.0"
	V1 Version = "1.0"
)

func (v Version) validate() error {
	if v != "" && v != V1 && v != V2 {
		return fmt.Errorf("version: invalid value %q: must be %s or %s", string(v), V2, V1)
	}
	return nil
}

// apiVersion is that of everything but networks.
func (v Version) apiVersion() string {
	if v == V1 {
		return "v1"
	}
	return "cci/v2"
}

// namespaces is the path of all namespaces, or of one and what is in it.
func (v Version) namespaces(elements ...string) string {
	if v == V1 {
		return join("/api/v1/namespaces", elements)
	}
	return join("/apis/cci/v2/namespaces", elements)
}

// pods is the path of all Pods of a namespace, or of one and what belongs to it.
func (v Version) pods(namespace string, elements ...string) string {
	return join(v.namespaces(namespace, "pods"), elements)
}

// networks is the path of all networks of a namespace, or of one.
func (v Version) networks(namespace string, elements ...string) string {
	if v == V1 {
		return join("/apis/networking.cci.io/v1beta1/namespaces/"+namespace+"/networks", elements)
	}
	return join("/apis/yangtse/v2/namespaces/"+namespace+"/networks", elements)
}

func join(path string, elements []string) string {
	return strings.Join(append([]string{path}, elements...), "/")
}
