package ccisim

import (
	"encoding/binary"
	"net/netip"
)

// addressPool hands out the addresses of a subnet, each to one Pod at a time, going round so that a freed one is not soon used again.
type addressPool struct {
	first, count uint32
	next         uint32
	used         map[netip.Addr]bool
}

// newAddressPool leaves out the network's address, the gateway's and the broadcast's.
func newAddressPool(subnet netip.Prefix) *addressPool {
	base := subnet.Addr().As4()
	size := uint32(1) << (32 - subnet.Bits())
	return &addressPool{first: binary.BigEndian.Uint32(base[:]) + 2, count: size - 3, used: map[netip.Addr]bool{}}
}

func (p *addressPool) free() int { return int(p.count) - len(p.used) }

// take returns a free address, false when there is none.
func (p *addressPool) take() (netip.Addr, bool) {
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

// hold marks an address as taken: a Pod has it already.
func (p *addressPool) hold(address string) {
	if addr, err := netip.ParseAddr(address); err == nil {
		p.used[addr] = true
	}
}

// give takes an address back, and reports whether the pool had been empty.
func (p *addressPool) give(address string) bool {
	addr, err := netip.ParseAddr(address)
	if err != nil || !p.used[addr] {
		return false
	}
	wasEmpty := p.free() <= 0
	delete(p.used, addr)
	return wasEmpty
}
