package endpoints

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

var here = Place{Node: "virtual-0", Zone: "zone-a"}

// state is one of the states of an endpoint.
type state struct{ ready, serving, terminating *bool }

var (
	isReady     = state{new(true), new(true), new(false)}
	notReady    = state{new(false), new(false), new(false)}
	ending      = state{new(false), new(true), new(true)}
	ended       = state{new(false), new(false), new(true)}
	unspecified = state{}
)

// one describes an endpoint: its address, its state, its node, and the zones and nodes of its hints.
type one struct {
	address string
	state   state
	node    string
	zones   []string
	nodes   []string
}

func (o one) endpoint() discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{
		Addresses: []string{o.address},
		Conditions: discoveryv1.EndpointConditions{
			Ready: o.state.ready, Serving: o.state.serving, Terminating: o.state.terminating,
		},
	}
	if o.node != "" {
		e.NodeName = new(o.node)
	}
	if o.zones != nil || o.nodes != nil {
		e.Hints = &discoveryv1.EndpointHints{}
	}
	for _, zone := range o.zones {
		e.Hints.ForZones = append(e.Hints.ForZones, discoveryv1.ForZone{Name: zone})
	}
	for _, node := range o.nodes {
		e.Hints.ForNodes = append(e.Hints.ForNodes, discoveryv1.ForNode{Name: node})
	}
	return e
}

func slice(endpoints ...one) *discoveryv1.EndpointSlice {
	port := discoveryv1.EndpointPort{Name: new("http"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolTCP)}
	s := &discoveryv1.EndpointSlice{
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{port},
	}
	for _, e := range endpoints {
		s.Endpoints = append(s.Endpoints, e.endpoint())
	}
	return s
}

func TestUsableEndpointsAreThoseOfKubeProxy(t *testing.T) {
	const a, b, c, d = "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"
	zone := func(names ...string) []string { return names }
	for name, tc := range map[string]struct {
		localOnly bool
		endpoints []one
		want      []string
	}{
		"none exists": {false, nil, nil},
		"ready ones are used": {
			false, []one{{address: a, state: isReady}, {address: b, state: notReady}}, []string{a},
		},
		"conditions that are not set are good": {false, []one{{address: a, state: unspecified}}, []string{a}},
		"terminating ones are not used while others are ready": {
			false, []one{{address: a, state: ending}, {address: b, state: isReady}}, []string{b},
		},
		"terminating ones that serve are used if none is ready": {
			false,
			[]one{{address: a, state: ending}, {address: b, state: ended}, {address: c, state: notReady}},
			[]string{a},
		},
		"none is used if none is ready or serves": {
			false, []one{{address: a, state: ended}, {address: b, state: notReady}}, nil,
		},
		"hints keep connections in the zone": {
			false,
			[]one{
				{address: a, state: isReady, zones: zone("zone-a")}, {address: b, state: isReady, zones: zone("zone-b")},
				{address: c, state: isReady, zones: zone("zone-b", "zone-a")},
			},
			[]string{a, c},
		},
		"hints do not matter if a ready endpoint has none": {
			false, []one{{address: a, state: isReady, zones: zone("zone-a")}, {address: b, state: isReady}}, []string{a, b},
		},
		"an endpoint that is not ready needs no hint": {
			false,
			[]one{
				{address: a, state: isReady, zones: zone("zone-a")}, {address: b, state: isReady, zones: zone("zone-b")},
				{address: c, state: notReady},
			},
			[]string{a},
		},
		"hints do not matter if none is for the zone": {
			false, []one{{address: a, state: isReady, zones: zone("zone-b")}}, []string{a},
		},
		"the hint of an endpoint that is not ready does not count": {
			false,
			[]one{{address: a, state: notReady, zones: zone("zone-a")}, {address: b, state: isReady, zones: zone("zone-b")}},
			[]string{b},
		},
		"terminating endpoints are used whatever their hints are": {
			false, []one{{address: a, state: ending, zones: zone("zone-b")}}, []string{a},
		},
		"hints for the node precede those for the zone": {
			false,
			[]one{
				{address: a, state: isReady, zones: zone("zone-a"), nodes: []string{"virtual-0"}},
				{address: b, state: isReady, zones: zone("zone-a"), nodes: []string{"node-1"}},
			},
			[]string{a},
		},
		"without a hint for the node the zone counts": {
			false,
			[]one{
				{address: a, state: isReady, zones: zone("zone-a"), nodes: []string{"node-1"}},
				{address: b, state: isReady, zones: zone("zone-b"), nodes: []string{"node-1"}},
			},
			[]string{a},
		},
		"internalTrafficPolicy Local uses the node only": {
			true,
			[]one{{address: a, state: isReady, node: "virtual-0"}, {address: b, state: isReady, node: "node-1"}},
			[]string{a},
		},
		"internalTrafficPolicy Local ignores hints": {
			true, []one{{address: a, state: isReady, node: "virtual-0", zones: zone("zone-b")}}, []string{a},
		},
		"internalTrafficPolicy Local falls back to terminating ones of the node": {
			true,
			[]one{
				{address: a, state: ending, node: "virtual-0"}, {address: b, state: isReady, node: "node-1"},
				{address: c, state: ending, node: "node-1"},
			},
			[]string{a},
		},
		"internalTrafficPolicy Local never leaves the node": {
			true, []one{{address: a, state: isReady, node: "node-1"}, {address: b, state: isReady}}, nil,
		},
		"of two endpoints with one address the one that does not terminate counts": {
			false, []one{{address: d, state: ending}, {address: d, state: isReady}}, []string{d},
		},
		"an address that is none is left out": {
			false, []one{{address: "web.example.com", state: isReady}, {address: "fd00::1", state: isReady}}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var want []netip.AddrPort
			for _, address := range tc.want {
				want = append(want, netip.MustParseAddrPort(address+":8080"))
			}
			whole := []*Slice{NewSlice(slice(tc.endpoints...), here)}
			assert.Equal(t, want, Usable(whole, "http", corev1.ProtocolTCP, tc.localOnly))
			// The same endpoints in one slice each, the last first.
			var parts []*Slice
			for _, e := range slices.Backward(tc.endpoints) {
				parts = append(parts, NewSlice(slice(e), here))
			}
			assert.Equal(t, want, Usable(parts, "http", corev1.ProtocolTCP, tc.localOnly))
		})
	}
}

func TestPortsAreFoundByNameAndProtocol(t *testing.T) {
	first, second := slice(one{address: "10.0.0.1"}), slice(one{address: "10.0.0.2"})
	// A named target port can have another number in other Pods: they are in another slice.
	second.Ports = []discoveryv1.EndpointPort{
		{Name: new("http"), Port: new(int32(9090))},
		{Name: new("http"), Port: new(int32(53)), Protocol: new(corev1.ProtocolUDP)},
		{Name: new("none")},
		{Name: new("large"), Port: new(int32(65536))},
		{Port: new(int32(1))},
	}
	other := slice(one{address: "10.0.0.3"})
	other.AddressType = discoveryv1.AddressTypeIPv6
	all := []*Slice{NewSlice(first, here), NewSlice(second, here), NewSlice(other, here)}
	usable := func(name string, protocol corev1.Protocol) (found []string) {
		for _, at := range Usable(all, name, protocol, false) {
			found = append(found, at.String())
		}
		return found
	}
	assert.Equal(t, []string{"10.0.0.1:8080", "10.0.0.2:9090"}, usable("http", corev1.ProtocolTCP))
	assert.Equal(t, []string{"10.0.0.2:53"}, usable("http", corev1.ProtocolUDP))
	for _, name := range []string{"none", "large", ""} {
		assert.Empty(t, usable(name, corev1.ProtocolTCP), name)
	}
}

// usableOracle is a second implementation, as close to the sentences of the documentation as possible.
func usableOracle(all []one, localOnly bool) []string {
	is := func(p *bool, otherwise bool) bool {
		if p == nil {
			return otherwise
		}
		return *p
	}
	pick := func(keep func(one) bool) (found []string) {
		for _, e := range all {
			if keep(e) {
				found = append(found, e.address)
			}
		}
		return found
	}
	isReady := func(e one) bool { return is(e.state.ready, true) }
	onNode := func(e one) bool { return !localOnly || e.node == here.Node }
	every := func(hints func(one) []string) bool {
		return !slices.ContainsFunc(all, func(e one) bool { return isReady(e) && len(hints(e)) == 0 })
	}
	hinted := func(hints func(one) []string, name string) []string {
		return pick(func(e one) bool { return isReady(e) && slices.Contains(hints(e), name) })
	}
	nodes, zones := func(e one) []string { return e.nodes }, func(e one) []string { return e.zones }
	if !localOnly && every(nodes) && len(hinted(nodes, here.Node)) > 0 {
		return hinted(nodes, here.Node)
	}
	if !localOnly && every(zones) && len(hinted(zones, here.Zone)) > 0 {
		return hinted(zones, here.Zone)
	}
	if found := pick(func(e one) bool { return isReady(e) && onNode(e) }); found != nil {
		return found
	}
	return pick(func(e one) bool { return is(e.state.serving, true) && is(e.state.terminating, false) && onNode(e) })
}

func TestTheChoiceIsThatOfTheOracle(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) []string {
		var found []string
		for _, name := range of {
			if random.IntN(2) == 0 {
				found = append(found, name)
			}
		}
		return found
	}
	for range 2_000 {
		var all []one
		for i := range random.IntN(6) {
			e := one{
				address: fmt.Sprintf("10.0.0.%d", i+1),
				state:   []state{isReady, isReady, notReady, ending, ended, unspecified}[random.IntN(6)],
				node:    []string{"", "virtual-0", "node-1"}[random.IntN(3)],
			}
			if random.IntN(4) > 0 {
				e.zones, e.nodes = pick("zone-a", "zone-b", "zone-c"), pick("virtual-0", "node-1", "node-2")
			}
			all = append(all, e)
		}
		localOnly := random.IntN(3) == 0
		var got []string
		for _, at := range Usable([]*Slice{NewSlice(slice(all...), here)}, "http", corev1.ProtocolTCP, localOnly) {
			got = append(got, at.Addr().String())
		}
		if !assert.Equal(t, usableOracle(all, localOnly), got, "%+v localOnly=%v", all, localOnly) {
			return
		}
	}
}

func TestHostsAreWhatDNSShows(t *testing.T) {
	named := slice(
		one{address: "10.0.0.1", state: isReady}, one{address: "10.0.0.2", state: notReady},
		one{address: "10.0.0.3", state: isReady})
	named.Endpoints[2].Hostname = new("web-2")
	s := []*Slice{NewSlice(named, here), NewSlice(slice(one{address: "10.0.0.4", state: isReady}), here)}
	names := func(all bool) (found []string) {
		for host := range Hosts(s, all) {
			found = append(found, host.Name()+" "+host.Address.String())
			assert.Equal(t, uint16(8080), host.Ports[0].Number)
		}
		return found
	}
	assert.Equal(t, []string{"10-0-0-1 10.0.0.1", "web-2 10.0.0.3", "10-0-0-4 10.0.0.4"}, names(false))
	assert.Equal(t, []string{
		"10-0-0-1 10.0.0.1", "10-0-0-2 10.0.0.2", "web-2 10.0.0.3", "10-0-0-4 10.0.0.4",
	}, names(true))
}

func BenchmarkUsableOfAServiceWith5000Endpoints(b *testing.B) {
	var all []*Slice
	for i := range 50 {
		var part []one
		for j := range 100 {
			part = append(part, one{address: fmt.Sprintf("10.0.%d.%d", i, j), state: isReady})
		}
		all = append(all, NewSlice(slice(part...), here))
	}
	for b.Loop() {
		Usable(all, "http", corev1.ProtocolTCP, false)
	}
}
