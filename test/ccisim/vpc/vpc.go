// Package vpc makes the network of a simulated cloud: subnets, a gateway between them, and a network namespace for each
// Pod with an address in one of them. It needs Linux, root and iproute2.
//
// The cloud is a network namespace. It has a bridge for each subnet, with the gateway's address, and one link to the
// network of this machine. This machine has a route to all subnets. The cloud has only the routes back that it is
// given, as a VPC has: packets to other networks are dropped. If other machines, or networks behind this one, shall
// reach Pods, this machine must forward packets.
//
// Namespaces have no names: they exist as long as the simulator has them open or a process is in them, and the kernel
// removes all links and routes with them. So nothing is left when the simulator ends, in whatever way.
package vpc

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/uuid"
)

const (
	// uplink is the link of the cloud to this machine.
	uplink = "uplink"
	// linkAddress is the address of this machine at the end of its link to a cloud.
	linkAddress = "169.254.1.1"
)

// VPC is the network of a cloud. Its methods may be called from any goroutine.
type VPC struct {
	subnets []netip.Prefix
	space   *os.File

	mu     sync.Mutex
	routes map[netip.Prefix]bool
	// links is how many links of Pods there were.
	links int
}

// New makes a network of subnets with a gateway between them, which has the first address of each.
func New(subnets []netip.Prefix) (*VPC, error) {
	space, err := newNamespace()
	if err != nil {
		return nil, err
	}
	v := &VPC{subnets: subnets, space: space, routes: map[netip.Prefix]bool{}}
	if err := v.connect(); err != nil {
		v.Close()
		return nil, err
	}
	return v, nil
}

// connect creates the bridges of the subnets and the link to this machine.
func (v *VPC) connect() error {
	// Names of interfaces have at most 15 characters.
	outer := "ccisim-" + string(uuid.NewUUID())[:8]
	machine := commands{
		fmt.Sprintf("link add %s type veth peer name %s netns %s", outer, uplink, passed(0)),
		fmt.Sprintf("addr add %s/32 dev %s", linkAddress, outer),
		fmt.Sprintf("link set %s up", outer),
	}
	cloud := commands{
		"link set lo up",
		fmt.Sprintf("link set %s up", uplink),
		fmt.Sprintf("route add %s dev %s", linkAddress, uplink),
		"route add blackhole default",
	}
	for i, subnet := range v.subnets {
		gateway := Gateway(subnet)
		// The link of a simulator that was killed may still be there for a moment.
		machine.add("route replace %s via %s dev %s onlink", subnet, gateway, outer)
		cloud.add("link add %s address %s type bridge", bridge(i), hardware(gateway))
		cloud.add("addr add %s/%d dev %s", gateway, subnet.Bits(), bridge(i))
		cloud.add("link set %s up", bridge(i))
	}
	if err := machine.run(v.space); err != nil {
		return fmt.Errorf("connecting the cloud to this machine: %w", err)
	}
	err := within(v.space, func() error {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1\n"), 0o644); err != nil {
			return err
		}
		return cloud.run()
	})
	if err != nil {
		return fmt.Errorf("creating the gateway of the cloud: %w", err)
	}
	return nil
}

// SetRoutes sets the networks that the cloud routes to this machine.
func (v *VPC) SetRoutes(to []netip.Prefix) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	next := map[netip.Prefix]bool{}
	for _, network := range to {
		next[network.Masked()] = true
	}
	var change commands
	for network := range v.routes {
		if !next[network] {
			change.add("route del %s", network)
		}
	}
	for network := range next {
		if !v.routes[network] {
			change.add("route add %s via %s dev %s", network, linkAddress, uplink)
		}
	}
	if err := within(v.space, func() error { return change.run() }); err != nil {
		return fmt.Errorf("setting the routes of the cloud: %w", err)
	}
	v.routes = next
	return nil
}

// Attach returns a new network namespace with an address of a subnet. It is a network of the cloud until it is closed
// and no process is in it.
func (v *VPC) Attach(address netip.Addr) (*os.File, error) {
	for i, subnet := range v.subnets {
		if subnet.Contains(address) {
			return v.attach(address, i)
		}
	}
	return nil, fmt.Errorf("connecting %s to the cloud: no subnet has the address", address)
}

func (v *VPC) attach(address netip.Addr, subnet int) (*os.File, error) {
	space, err := newNamespace()
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	v.links++
	link := fmt.Sprintf("pod-%d", v.links)
	v.mu.Unlock()
	// Addresses are used again: the same hardware address spares others the wait until they forget the former one.
	pod := commands{
		"link set lo up",
		fmt.Sprintf("link add eth0 address %s type veth peer name %s netns %s", hardware(address), link, passed(0)),
		fmt.Sprintf("addr add %s/%d dev eth0", address, v.subnets[subnet].Bits()),
		"link set eth0 up",
		"route add default via " + Gateway(v.subnets[subnet]).String(),
	}
	cloud := commands{fmt.Sprintf("link set %s master %s up", link, bridge(subnet))}
	err = within(space, func() error { return pod.run(v.space) })
	if err == nil {
		err = within(v.space, func() error { return cloud.run() })
	}
	if err != nil {
		_ = space.Close() // The kernel removes what was made.
		return nil, fmt.Errorf("connecting %s to the cloud: %w", address, err)
	}
	return space, nil
}

// Close removes the network. The Pods' namespaces stay, without a connection, until they are closed.
func (v *VPC) Close() { _ = v.space.Close() } // It was open for reading, or is closed already.

// Gateway returns the address of the gateway in a subnet.
func Gateway(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

func bridge(i int) string { return fmt.Sprintf("subnet-%d", i) }

// hardware returns the hardware address of an IPv4 address.
func hardware(address netip.Addr) string {
	four := address.As4()
	text := "02:cc"
	for _, part := range four {
		text += ":" + hex.EncodeToString([]byte{part})
	}
	return text
}

// newNamespace returns a new network namespace. It exists as long as the file is open or a process is in it.
func newNamespace() (space *os.File, err error) {
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("creating a network namespace: %w", err)
		}
		if space, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return fmt.Errorf("opening a network namespace: %w", err)
		}
		return nil
	})
	return space, err
}

// within calls f in a network namespace. Processes that it starts are in it too.
func within(space *os.File, f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(space.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering a network namespace: %w", err)
		}
		return f()
	})
}

// onThread calls f on a thread that no other goroutine uses. The thread ends with its goroutine, because that stays
// locked to it.
func onThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		result <- f()
	}()
	return <-result
}

// commands are commands of ip(8).
type commands []string

func (c *commands) add(format string, values ...any) {
	*c = append(*c, fmt.Sprintf(format, values...))
}

// passed is the name of the i-th namespace that run receives.
func passed(i int) string { return fmt.Sprintf("/proc/self/fd/%d", 3+i) }

// run runs the commands in the network namespace of the present thread.
func (c *commands) run(namespaces ...*os.File) error {
	if len(*c) == 0 {
		return nil
	}
	ip := exec.Command("ip", "-batch", "-")
	ip.Stdin = strings.NewReader(strings.Join(*c, "\n"))
	ip.ExtraFiles = namespaces
	output, err := ip.CombinedOutput()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%w: install Debian's package iproute2", err)
	case err != nil:
		return fmt.Errorf("ip: %w: %s: %s", err, strings.TrimSpace(string(output)), strings.Join(*c, "; "))
	}
	return nil
}
