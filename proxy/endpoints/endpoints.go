// Package endpoints decides which endpoints of a Service a connection may use, as kube-proxy does. It is pure: it opens
// no connection, and knows neither a clock nor a client.
//
// Only IPv4 endpoints exist here: cloud Pods have no IPv6 address.
package endpoints

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"
)

// Place is where the Pod runs. Hints and traffic policies are relative to it.
type Place struct {
	// Node is the name of the Pod's node, and Zone the zone of that node. Zone may be empty.
	Node, Zone string
}

// flags is what matters of an endpoint, as it is seen from a Place. A slice keeps five bytes for each endpoint.
type flags uint8

const (
	ready flags = 1 << iota
	serving
	terminating
	// local endpoints are on the node of the Pod.
	local
	// nodeHinted endpoints have hints for nodes, hintedHere ones for the node of the Pod. The same holds for zones.
	nodeHinted
	hintedHere
	zoneHinted
	hintedZone
)

func (f flags) has(all flags) bool { return f&all == all }

type endpoint struct {
	address [4]byte
	flags   flags
}

// Port is one port of all endpoints of a slice.
type Port struct {
	// Name is the name of the port of the Service. It may be empty.
	Name     string
	Protocol corev1.Protocol
	Number   uint16
}

// Slice is what is kept of an EndpointSlice. It does not change.
type Slice struct {
	ports     []Port
	endpoints []endpoint
	// hostnames has the host name of each endpoint, "" for none. It is nil if none has one.
	hostnames []string
}

// NewSlice returns what is kept of an EndpointSlice. A slice of another address type than IPv4 has no endpoints.
func NewSlice(from *discoveryv1.EndpointSlice, place Place) *Slice {
	s := &Slice{}
	if from.AddressType != discoveryv1.AddressTypeIPv4 {
		return s
	}
	for _, port := range from.Ports {
		// As kube-proxy: a port without a number would mean all ports.
		if port.Name == nil || port.Port == nil || *port.Port < 1 || *port.Port > 65535 {
			continue
		}
		protocol := ptr.Deref(port.Protocol, corev1.ProtocolTCP)
		// Few names are used by many slices: equal ones share their memory.
		s.ports = append(s.ports, Port{
			Name: unique.Make(*port.Name).Value(), Protocol: unique.Make(protocol).Value(), Number: uint16(*port.Port),
		})
	}
	var hostnames []string
	named := false
	for i := range from.Endpoints {
		one := &from.Endpoints[i]
		if len(one.Addresses) == 0 {
			continue
		}
		address, err := netip.ParseAddr(one.Addresses[0])
		if err != nil || !address.Is4() {
			continue
		}
		s.endpoints = append(s.endpoints, endpoint{address: address.As4(), flags: flagsOf(one, place)})
		hostnames = append(hostnames, ptr.Deref(one.Hostname, ""))
		named = named || hostnames[len(hostnames)-1] != ""
	}
	if named {
		s.hostnames = slices.Clip(hostnames)
	}
	s.ports, s.endpoints = slices.Clip(s.ports), slices.Clip(s.endpoints)
	return s
}

func flagsOf(one *discoveryv1.Endpoint, place Place) flags {
	var f flags
	set := func(flag flags, on bool) {
		if on {
			f |= flag
		}
	}
	c := one.Conditions
	set(ready, ptr.Deref(c.Ready, true))
	set(serving, ptr.Deref(c.Serving, true))
	set(terminating, ptr.Deref(c.Terminating, false))
	set(local, place.Node != "" && ptr.Deref(one.NodeName, "") == place.Node)
	if one.Hints != nil {
		set(nodeHinted, len(one.Hints.ForNodes) > 0)
		set(hintedHere, slices.Contains(one.Hints.ForNodes, discoveryv1.ForNode{Name: place.Node}))
		set(zoneHinted, len(one.Hints.ForZones) > 0)
		set(hintedZone, slices.Contains(one.Hints.ForZones, discoveryv1.ForZone{Name: place.Zone}))
	}
	return f
}

// candidate is one endpoint of one port: address, port and flags in one number, which is fast to sort.
type candidate uint64

func newCandidate(e endpoint, port uint16) candidate {
	c := uint64(binary.BigEndian.Uint32(e.address[:]))<<32 | uint64(port)<<16 | uint64(e.flags)
	if e.flags.has(terminating) {
		c |= 1 << 8 // After one of the same address that does not terminate.
	}
	return candidate(c)
}

func (c candidate) flags() flags { return flags(c) }

func (c candidate) at() netip.AddrPort {
	var address [4]byte
	binary.BigEndian.PutUint32(address[:], uint32(c>>32))
	return netip.AddrPortFrom(netip.AddrFrom4(address), uint16(c>>16))
}

// Usable returns the endpoints of a port of a Service that connections may use, in order of their addresses. localOnly
// is internalTrafficPolicy: Local. The rules are those of kube-proxy (pkg/proxy/topology.go):
//
//   - Ready endpoints. If there are none, terminating ones that still serve.
//   - With localOnly those on the Pod's node. Hints do not matter then.
//   - Otherwise, if all ready endpoints have hints for nodes and one of them is for this node, those with that hint. If
//     not, the same with zones.
func Usable(from []*Slice, port string, protocol corev1.Protocol, localOnly bool) []netip.AddrPort {
	all := candidates(from, port, protocol)
	need := local
	if !localOnly {
		need = topology(all)
	}
	if found := filter(all, ready|need); len(found) > 0 {
		return found
	}
	// No endpoint is ready, so there are no hints to follow.
	return filter(all, serving|terminating|need)
}

// candidates returns the endpoints of a port by address, each once.
func candidates(from []*Slice, port string, protocol corev1.Protocol) []candidate {
	var all []candidate
	for _, s := range from {
		for _, p := range s.ports {
			if p.Name != port || p.Protocol != protocol {
				continue
			}
			all = slices.Grow(all, len(s.endpoints))
			for _, e := range s.endpoints {
				all = append(all, newCandidate(e, p.Number))
			}
		}
	}
	// An endpoint can be in two slices for a moment, and a new Pod can have the address of one that terminates. The one
	// that does not terminate counts.
	slices.Sort(all)
	return slices.CompactFunc(all, func(a, b candidate) bool { return a>>16 == b>>16 })
}

// topology returns the flag of hints that endpoints must have, or 0 if hints do not matter.
func topology(all []candidate) flags {
	common, some := flags(0xff), flags(0)
	for _, c := range all {
		if c.flags().has(ready) {
			common, some = common&c.flags(), some|c.flags()
		}
	}
	switch {
	case !some.has(ready):
		return 0
	case common.has(nodeHinted) && some.has(hintedHere):
		return hintedHere
	case common.has(zoneHinted) && some.has(hintedZone):
		return hintedZone
	}
	return 0
}

func filter(all []candidate, with flags) []netip.AddrPort {
	var found []netip.AddrPort
	for _, c := range all {
		if c.flags().has(with) {
			found = append(found, c.at())
		}
	}
	return found
}

// Host is an endpoint of a headless Service as DNS shows it.
type Host struct {
	Address netip.Addr
	// Ports are the ports of the endpoint.
	Ports []Port
	// hostname is empty if the endpoint has none.
	hostname string
}

// Name is the host name of the endpoint, or its address with dashes: 10.0.0.1 is 10-0-0-1.
func (h Host) Name() string {
	if h.hostname != "" {
		return h.hostname
	}
	return strings.ReplaceAll(h.Address.String(), ".", "-")
}

// Hosts yields the endpoints that DNS shows for a headless Service: the ready ones, or all (publishNotReadyAddresses).
// An endpoint that is in two slices comes twice.
func Hosts(from []*Slice, all bool) iter.Seq[Host] {
	return func(yield func(Host) bool) {
		for _, s := range from {
			for i, e := range s.endpoints {
				if !all && !e.flags.has(ready) {
					continue
				}
				host := Host{Address: netip.AddrFrom4(e.address), Ports: s.ports}
				if s.hostnames != nil {
					host.hostname = s.hostnames[i]
				}
				if !yield(host) {
					return
				}
			}
		}
	}
}
