package cci

import (
	"errors"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// Addresses are the addresses that cloud Pods may have. The virtual node connects to them, and Services send the
// requests of other Pods there, so the service alone must not choose them.
type Addresses struct {
	// Ranges contain all of them. Without ranges, every address is allowed except those that never are addresses of a
	// Pod: loopback, link-local (which includes the metadata service of a machine), multicast and unspecified ones.
	Ranges []netip.Prefix
	// Node is the address of the virtual node, which is never allowed.
	Node netip.Addr
}

// Parse returns an address in its canonical form, or why a Pod may not have it.
func (a Addresses) Parse(text string) (netip.Addr, error) {
	address, err := netip.ParseAddr(text)
	if err != nil || address.Zone() != "" {
		return netip.Addr{}, errors.New("it is not an IP address")
	}
	address = address.Unmap()
	if address == a.Node.Unmap() {
		return netip.Addr{}, errors.New("it is the address of the virtual node")
	}
	if len(a.Ranges) > 0 {
		for _, allowed := range a.Ranges {
			if allowed.Contains(address) {
				return address, nil
			}
		}
		return netip.Addr{}, fmt.Errorf("it is in none of the ranges %v", a.Ranges)
	}
	if !address.IsGlobalUnicast() || address == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.Addr{}, errors.New("it is a loopback, link-local, multicast or unspecified address")
	}
	return address, nil
}

// apply removes the addresses of a Pod that it may not have, and all but the first of IPv4 and of IPv6.
func (a Addresses) apply(pod *Pod) {
	reported := pod.Status.PodIPs
	if len(reported) == 0 && pod.Status.PodIP != "" {
		reported = []corev1.PodIP{{IP: pod.Status.PodIP}}
	}
	pod.Status.PodIP, pod.Status.PodIPs = "", nil
	families := map[bool]bool{}
	for _, ip := range reported {
		address, err := a.Parse(ip.IP)
		if err != nil {
			pod.RefusedAddress = fmt.Sprintf("%s: %v", policy.Clip(ip.IP, maxName), err)
			continue
		}
		if !families[address.Is4()] {
			families[address.Is4()] = true
			pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: address.String()})
		}
	}
	if len(pod.Status.PodIPs) > 0 {
		pod.Status.PodIP = pod.Status.PodIPs[0].IP
	}
}
