package machine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
)

const (
	// ControlAddress is the address of the API server and of CoreDNS for Pods. ControlNetwork contains it.
	ControlAddress = "10.250.0.1"
	ControlNetwork = "10.250.0.0/24"
	controlBridge  = "control"
	// PodNetwork contains the networks of all nodes, ServiceNetwork the ClusterIPs.
	PodNetwork     = "10.244.0.0/16"
	ServiceNetwork = "10.96.0.0/16"
)

// podNetwork returns the network of the Pods of the i-th node, and nodeAddress its first address, which is the node's.
func podNetwork(i int) string  { return fmt.Sprintf("10.244.%d.0/24", i) }
func nodeAddress(i int) string { return fmt.Sprintf("10.244.%d.1", i) }

// bringUpNetwork creates the network that all nodes share. The default route leads to the bridge of the control plane,
// because packets to Services need a route before kube-proxy's rules translate their addresses.
func bringUpNetwork() error {
	if err := ip("link set lo up"); err != nil {
		return err
	}
	if err := bridge(controlBridge, ControlAddress+"/24"); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1\n"), 0o644); err != nil {
		return fmt.Errorf("enabling IP forwarding: %w", err)
	}
	return ip("route add default dev " + controlBridge)
}

// bridge creates a bridge with an address.
func bridge(name, address string) error {
	if _, err := netip.ParsePrefix(address); err != nil {
		return fmt.Errorf("creating bridge %s: %w", name, err)
	}
	for _, command := range []string{
		"link add " + name + " type bridge", "addr add " + address + " dev " + name, "link set " + name + " up",
	} {
		if err := ip(command); err != nil {
			return err
		}
	}
	return nil
}

func ip(command string) error {
	output, err := exec.CommandContext(context.Background(), "ip", strings.Fields(command)...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("configuring the network: %w: install Debian's package iproute2", err)
	}
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", command, err, output)
	}
	return nil
}
