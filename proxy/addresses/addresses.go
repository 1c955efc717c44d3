// Package addresses gives Services addresses of the loopback interface of the Pod. It opens no port.
package addresses

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// Network is where the addresses are. Programs use the beginning of the loopback network for themselves, but not this
// part of it.
var Network = netip.MustParsePrefix("127.64.0.0/10")

// Table is which address each Service has. A Service keeps its address until it is deleted. An address that is free
// again is used last: a program that has remembered it must not reach another Service.
type Table struct {
	mu        sync.Mutex
	addresses map[types.NamespacedName]netip.Addr
	services  map[netip.Addr]types.NamespacedName
	// next is the number in the network of the address that is tried next, and size is how many there are.
	next, size uint32
}

// New returns an empty Table.
func New() *Table {
	return &Table{
		addresses: map[types.NamespacedName]netip.Addr{}, services: map[netip.Addr]types.NamespacedName{},
		size: 1 << (32 - Network.Bits()),
	}
}

var errFull = errors.New("all addresses of the network " + Network.String() + " are in use")

// Of returns the address of a Service. It gets one if it has none.
func (t *Table) Of(service types.NamespacedName) (netip.Addr, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if address, ok := t.addresses[service]; ok {
		return address, nil
	}
	// The first and the last address are not used.
	if uint32(len(t.addresses)) >= t.size-2 {
		return netip.Addr{}, errFull
	}
	for {
		t.next++
		if t.next >= t.size-1 {
			t.next = 1
		}
		address := number(t.next)
		if _, taken := t.services[address]; !taken {
			t.addresses[service], t.services[address] = address, service
			return address, nil
		}
	}
}

func number(n uint32) netip.Addr {
	bytes := Network.Addr().As4()
	binary.BigEndian.PutUint32(bytes[:], binary.BigEndian.Uint32(bytes[:])+n)
	return netip.AddrFrom4(bytes)
}

// Service returns the Service that has an address.
func (t *Table) Service(address netip.Addr) (types.NamespacedName, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	service, ok := t.services[address]
	return service, ok
}

// Release takes the address of a Service that does not exist any more.
func (t *Table) Release(service types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if address, ok := t.addresses[service]; ok {
		delete(t.addresses, service)
		delete(t.services, address)
	}
}
