package podlife

import (
	"encoding/binary"
	"net/netip"
)

// addressPool allocates the addresses of a subnet, each to one Pod at a time. It allocates them in turn, so that a
// freed address is not used again soon.
type addressPool struct {
	first, count uint32
	next         uint32
	used         map[netip.Addr]bool
}

// newAddressPool returns a pool without the addresses of the network, the gateway and the broadcast.
func newAddressPool(subnet netip.Prefix) *addressPool {
	base := subnet.Addr().As4()
	size := uint32(1) << (32 - subnet.Bits())
	return &addressPool{first: binary.BigEndian.Uint32(base[:]) + 2, count: size - 3, used: map[netip.Addr]bool{}}
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

// reserve marks an address as used, because a Pod already has it.
func (p *addressPool) reserve(address string) {
	if addr, err := netip.ParseAddr(address); err == nil {
		p.used[addr] = true
	}
}

// release frees an address, and reports whether no address was free before.
func (p *addressPool) release(address string) bool {
	addr, err := netip.ParseAddr(address)
	if err != nil || !p.used[addr] {
		return false
	}
	wasEmpty := p.free() <= 0
	delete(p.used, addr)
	return wasEmpty
}
