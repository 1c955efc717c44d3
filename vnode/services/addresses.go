package services

import (
	"encoding/json"
	"errors"
	"net"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"
)

// Kubeconfig returns the kubeconfig of the proxy in a Pod on a virtual node of this process. It changes with the
// addresses of the servers and with the Secret.
func (s *Server) Kubeconfig(pod *corev1.Pod) ([]byte, error) {
	keys := s.secret.Load()
	if keys == nil {
		return nil, errors.New("writing a kubeconfig for Services: the keys of the server are not known yet")
	}
	return Kubeconfig(s.addresses(), keys.content[secretCA], keys.key.Token(PodOf(pod)))
}

// addresses returns where Pods reach the servers: as configured, or else this process, which runs the node of the Pod
// at the moment, and then the others.
func (s *Server) addresses() []string {
	if len(s.config.Addresses) > 0 {
		return s.config.Addresses
	}
	objects, _, _ := s.slices.resources.snapshot()
	var others []string
	for _, object := range objects {
		if !belongs(object, s.scope.server) {
			continue
		}
		var slice discoveryv1.EndpointSlice
		if json.Unmarshal(object.json, &slice) != nil { // This program has written it.
			continue
		}
		others = append(others, endpointsOf(&slice)...)
	}
	slices.Sort(others)
	others = slices.DeleteFunc(slices.Compact(others), func(address string) bool { return address == s.config.Own })
	return append([]string{s.config.Own}, others...)
}

// endpointsOf returns the host:port of the ready endpoints of a Service with one port.
func endpointsOf(slice *discoveryv1.EndpointSlice) []string {
	if len(slice.Ports) == 0 || slice.Ports[0].Port == nil {
		return nil
	}
	port := strconv.Itoa(int(*slice.Ports[0].Port))
	var addresses []string
	for _, endpoint := range slice.Endpoints {
		if !ptr.Deref(endpoint.Conditions.Ready, true) {
			continue
		}
		for _, address := range endpoint.Addresses {
			addresses = append(addresses, net.JoinHostPort(address, port))
		}
	}
	return addresses
}
