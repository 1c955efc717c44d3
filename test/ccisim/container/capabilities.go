package container

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Capability is the number of a capability of Linux.
type Capability int

// capabilities are the names of all capabilities, by number, without CAP_. Source: capabilities(7).
var capabilities = []string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE",
	"SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME",
	"SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
	"WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
}

// defaults are the capabilities of a container that asks for none. Source: containerd 2.4, pkg/oci/spec.go.
var defaults = []string{
	"CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
	"NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
}

// Capabilities returns the capabilities of a container that adds and drops some, as a container runtime does: first
// what "ALL" stands for, then what is dropped, then what is added. Source: containerd 2.4, internal/cri/server.
func Capabilities(add, drop []string) ([]Capability, error) {
	names := slices.Clone(defaults)
	switch {
	case slices.ContainsFunc(add, isAll):
		names = slices.Clone(capabilities)
	case slices.ContainsFunc(drop, isAll):
		names = nil
	}
	for _, name := range drop {
		name = bare(name)
		if !isAll(name) && !slices.Contains(capabilities, name) {
			return nil, fmt.Errorf("unknown capability to drop %q", "CAP_"+name)
		}
		names = slices.DeleteFunc(names, func(other string) bool { return other == name })
	}
	var numbers []Capability
	for _, name := range append(names, add...) {
		if isAll(name) {
			continue
		}
		number := slices.Index(capabilities, bare(name))
		if number < 0 {
			return nil, fmt.Errorf("unknown capability to add %q", "CAP_"+bare(name))
		}
		if !slices.Contains(numbers, Capability(number)) {
			numbers = append(numbers, Capability(number))
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func isAll(name string) bool { return strings.EqualFold(name, "ALL") }

// bare returns a name as in the table: Kubernetes accepts it with CAP_ too.
func bare(name string) string { return strings.TrimPrefix(strings.ToUpper(name), "CAP_") }

// limit takes all capabilities but the given ones from the programs that the present thread starts. The thread itself
// keeps its capabilities.
func limit(to []Capability) error {
	for number := range capabilities {
		if slices.Contains(to, Capability(number)) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(number), 0, 0, 0); err != nil {
			return fmt.Errorf("dropping capability %s: %w", capabilities[number], err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clearing the ambient capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("reading the capabilities: %w", err)
	}
	sets[0].Inheritable, sets[1].Inheritable = 0, 0
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return fmt.Errorf("clearing the inheritable capabilities: %w", err)
	}
	return nil
}
