package system

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// Ports are claimed in blocks below the range of the kernel's ephemeral ports. So no outgoing connection takes the port
// of a process while that process restarts.
const (
	lowestPort = 20000
	endOfPorts = 30000
	blockSize  = 64
)

// Offsets of the ports in a system's block. A vnode has two, from firstVNodePort on.
const (
	etcdPort = iota
	etcdPeerPort
	apiServerPort
	controllerManagerPort
	schedulerPort
	kwokPort
	ccisimPort
	extenderPort
	admissionPort
	admissionHealthPort
	otherSchedulerPort
	firstVNodePort

	firstReplicaPort    = firstVNodePort + 2*MaxVirtualNodes // Two per extender, and one for the forwarder's health.
	forwarderHealthPort = firstReplicaPort + 2*replicas
)

// Offsets of the ports of a system with HA, after the others.
const (
	secondSchedulerPort = forwarderHealthPort + 1 + iota
	secondAdmissionPort
	secondAdmissionHealthPort
	admissionForwarderPort
	admissionForwarderHealthPort
	firstServicesPort // One per vnode process with Config.Services.
)

// claimPorts chooses a block of ports for the system in dir. Systems that start at the same time cannot find each
// other's ports by trying to listen, so each records its claim in a file that all systems of this user read. A claim
// ends when the system's state is removed.
func claimPorts(dir string) (int, error) {
	registry := filepath.Join(os.TempDir(), fmt.Sprintf("spillway-ports-%d.json", os.Getuid()))
	release, err := lock(registry+".lock", true)
	if err != nil {
		return 0, err
	}
	defer release()
	claims, err := readClaims(registry)
	if err != nil {
		return 0, err
	}
	for first := lowestPort; first+blockSize <= endOfPorts; first += blockSize {
		if holder, claimed := claims[first]; (claimed && holder != dir) || !allFree(first) {
			continue
		}
		claims[first] = dir
		content, err := json.MarshalIndent(claims, "", "  ")
		if err != nil {
			return 0, fmt.Errorf("encoding the claims on ports: %w", err)
		}
		if err := os.WriteFile(registry, content, 0o600); err != nil {
			return 0, fmt.Errorf("claiming ports: %w", err)
		}
		return first, nil
	}
	return 0, fmt.Errorf("choosing ports: no block of %d ports between %d and %d is free", blockSize, lowestPort,
		endOfPorts)
}

// readClaims returns the directories of the systems that hold blocks, by first port. It omits systems that do not
// exist.
func readClaims(registry string) (map[int]string, error) {
	claims := map[int]string{}
	content, err := os.ReadFile(registry)
	if errors.Is(err, os.ErrNotExist) {
		return claims, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the claims on ports: %w", err)
	}
	if err := json.Unmarshal(content, &claims); err != nil {
		return nil, fmt.Errorf("reading the claims on ports in %s: %w", registry, err)
	}
	for first, dir := range claims {
		// A system creates the directory before its claim, and the state right after it, so a starting system has the
		// directory.
		if _, err := os.Stat(filepath.Dir(statePath(dir))); errors.Is(err, os.ErrNotExist) {
			delete(claims, first)
		}
	}
	return claims, nil
}

func allFree(first int) bool {
	for port := first; port < first+blockSize; port++ {
		listener, err := net.Listen("tcp", address(port))
		if err != nil {
			return false
		}
		_ = listener.Close()
	}
	return true
}

// address returns the address of the port on loopback, where all processes of a system listen.
func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
