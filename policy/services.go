package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ServicesMode says how a Pod in the cloud reaches Services of the cluster.
type ServicesMode string

const (
	// ServicesOff: it does not. Headless Services and load balancers work if the networks are connected.
	ServicesOff ServicesMode = "off"
	// ServicesRouted: the network between the cloud and the cluster routes ClusterIPs. Nothing is added to the Pod.
	ServicesRouted ServicesMode = "routed"
	// ServicesProxy: a sidecar without privileges resolves the names of Services and connects to their endpoints.
	ServicesProxy ServicesMode = "proxy"
	// ServicesKubeProxy: kube-proxy runs as the sidecar, which needs the capability NET_ADMIN.
	ServicesKubeProxy ServicesMode = "kube-proxy"
)

// ServicesModes returns all modes.
func ServicesModes() []ServicesMode {
	return []ServicesMode{ServicesOff, ServicesRouted, ServicesProxy, ServicesKubeProxy}
}

// HasSidecar reports whether a Pod of the mode has the sidecar ServicesContainer.
func (m ServicesMode) HasSidecar() bool { return m == ServicesProxy || m == ServicesKubeProxy }

// ParseServices reads ServicesAnnotation. It returns an empty value without the annotation. An unknown value is an
// error.
func ParseServices(annotations map[string]string) (ServicesMode, error) {
	value, ok := annotations[ServicesAnnotation]
	if !ok {
		return "", nil
	}
	if mode := ServicesMode(value); slices.Contains(ServicesModes(), mode) {
		return mode, nil
	}
	return "", invalidValue(ServicesAnnotation, "", value, fmt.Sprintf("must be one of %s, %s, %s, %s",
		ServicesOff, ServicesRouted, ServicesProxy, ServicesKubeProxy))
}

// maxReservedPorts bounds the list of ReservedPortsAnnotation, which becomes an argument of the sidecar.
const maxReservedPorts = 100

// ParseReservedPorts reads ReservedPortsAnnotation. It returns each port once, in ascending order.
func ParseReservedPorts(annotations map[string]string) ([]int32, error) {
	value, ok := annotations[ReservedPortsAnnotation]
	if !ok {
		return nil, nil
	}
	var ports []int32
	for text := range strings.SplitSeq(value, ",") {
		port, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16)
		if err != nil || port == 0 || len(ports) == maxReservedPorts {
			return nil, invalidValue(ReservedPortsAnnotation, "", value,
				fmt.Sprintf("must be a list of at most %d ports from 1 to 65535, such as \"8080,9090\"", maxReservedPorts))
		}
		ports = append(ports, int32(port))
	}
	slices.Sort(ports)
	return slices.Compact(ports), nil
}
