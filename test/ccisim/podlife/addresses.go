package podlife

import (
	"encoding/binary"
	"net/netip"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// pools are the addresses of all subnets.
type pools struct {
	// others are the addresses of networks whose subnets have no range.
	others *addressPool
	// ofSubnet are those with a range, by the ID that a network names.
	ofSubnet map[string]*addressPool
}

func newPools(others netip.Prefix, subnets []Subnet) pools {
	p := pools{others: newAddressPool(others), ofSubnet: map[string]*addressPool{}}
	for _, subnet := range subnets {
		if subnet.Range.IsValid() {
			p.ofSubnet[subnet.NeutronID] = newAddressPool(subnet.Range)
		}
	}
	return p
}

// of returns the pools of a network's subnets.
func (p pools) of(network objects.Object) []*addressPool {
	var found []*addressPool
	if network, ok := network.(*objects.Network); ok {
		for _, subnet := range network.Spec.Subnets {
			if pool := p.ofSubnet[subnet.SubnetID]; pool != nil {
				found = append(found, pool)
			}
		}
	}
	if len(found) == 0 {
		return []*addressPool{p.others}
	}
	return found
}

// allocate returns a free address of a network of the namespace, false if there is none.
func (p pools) allocate(tx store.Tx, namespace string) (netip.Addr, bool) {
	for _, e := range tx.Sorted(objects.Networks, namespace) {
		for _, pool := range p.of(e.Object) {
			if addr, ok := pool.allocate(); ok {
				return addr, true
			}
		}
	}
	return netip.Addr{}, false
}

// with returns the pool of an address.
func (p pools) with(addr netip.Addr) *addressPool {
	for _, pool := range p.ofSubnet {
		if pool.subnet.Contains(addr) {
			return pool
		}
	}
	return p.others
}

// reserve marks an address as used, because a Pod already has it.
func (p pools) reserve(address string) {
	if addr, err := netip.ParseAddr(address); err == nil {
		p.with(addr).used[addr] = true
	}
}

// release frees an address, and reports whether no address of its subnet was free before.
func (p pools) release(address string) bool {
	addr, err := netip.ParseAddr(address)
	return err == nil && p.with(addr).release(addr)
}

// areUsed reports whether a network has no free address.
func (p pools) areUsed(network objects.Object) bool {
	for _, pool := range p.of(network) {
		if pool.free() > 0 {
			return false
		}
	}
	return true
}

// addressPool allocates the addresses of a subnet, each to one Pod at a time. It allocates them in turn, so that a
// freed address is not used again soon.
type addressPool struct {
	subnet       netip.Prefix
	first, count uint32
	next         uint32
	used         map[netip.Addr]bool
}

// newAddressPool returns a pool without the addresses of the network, the gateway and the broadcast.
func newAddressPool(subnet netip.Prefix) *addressPool {
	base := subnet.Addr().As4()
	size := uint32(1) << (32 - subnet.Bits())
	return &addressPool{
		subnet: subnet, first: binary.BigEndian.Uint32(base[:]) + 2, count: size - 3, used: map[netip.Addr]bool{},
	}
}

func (p *addressPool) free() int { return int(p.count) - len(p.used) }

// allocate returns a free address, false if there is none.
func (p *addressPool) allocate() (netip.Addr, bool) {
	if p.free() <= 0 {
		return netip.Addr{}, false
	}
	for {
		var raw [4]byte
		binary.BigEndian.PutUint32(raw[:], p.first+p.next%p.count)
		p.next++
		addr := netip.AddrFrom4(raw)
		if !p.used[addr] {
			p.used[addr] = true
			return addr, true
		}
	}
}

// release frees an address, and reports whether no address was free before.
func (p *addressPool) release(addr netip.Addr) bool {
	if !p.used[addr] {
		return false
	}
	wasEmpty := p.free() <= 0
	delete(p.used, addr)
	return wasEmpty
}
