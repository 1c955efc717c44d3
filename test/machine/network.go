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
	// ControlAddress is where Pods find what is no Pod: the API server and the name server.
	ControlAddress = "10.250.0.1"
	controlBridge  = "control"
)

// podNetwork is the network of the Pods of the i-th node, and nodeAddress its first address, which the node itself has.
func podNetwork(i int) string  { return fmt.Sprintf("10.244.%d.0/24", i) }
func nodeAddress(i int) string { return fmt.Sprintf("10.244.%d.1", i) }

// bringUpNetwork makes what all nodes share. Everything that has no route of its own goes to the bridge of the control plane: addresses of Services need
// one before kube-proxy's rules can turn them into others.
func bringUpNetwork() error {
	if err := ip("link set lo up"); err != nil {
		return err
	}
	if err := bridge(controlBridge, ControlAddress+"/24"); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1\n"), 0o644); err != nil {
		return fmt.Errorf("having the machine forward packets: %w", err)
	}
	return ip("route add default dev " + controlBridge)
}

// bridge makes a bridge that has an address.
func bridge(name, address string) error {
	if _, err := netip.ParsePrefix(address); err != nil {
		return fmt.Errorf("making bridge %s: %w", name, err)
	}
	for _, command := range []string{"link add " + name + " type bridge", "addr add " + address + " dev " + name, "link set " + name + " up"} {
		if err := ip(command); err != nil {
			return err
		}
	}
	return nil
}

func ip(command string) error {
	output, err := exec.CommandContext(context.Background(), "ip", strings.Fields(command)...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("configuring the network: %w: Debian's package iproute2 has it", err)
	}
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", command, err, output)
	}
	return nil
}
