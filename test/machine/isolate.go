package machine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// states are where CNI remembers what it did, and where kubelets have a socket for plugins of devices, wherever else they keep their things.
var states = []string{"/var/lib/cni", "/var/lib/kubelet"}

// isolated is set in the environment of a process that has namespaces of its own.
const isolated = "SPILLWAY_MACHINE"

// Isolate runs a function where it may make a cluster of: in a process with namespaces of its own for processes, mounts, the network, IPC and
// the host name. It is for TestMain, and returns the exit code. Whatever the function starts, mounts or configures is gone when it
// returns, or when the calling process is killed: the kernel sees to that. What stays are the files in directories of the caller's, and for
// a killed one the empty control groups, until the next call.
//
// There is no network but loopback, so nothing can be downloaded. It needs root.
func Isolate(run func() int) int {
	code, err := isolate(run)
	if err != nil {
		fmt.Fprintln(os.Stderr, "isolating a machine:", err)
		return 1
	}
	return code
}

func isolate(run func() int) (int, error) {
	if os.Getenv(isolated) != "" {
		if err := furnish(); err != nil {
			return 0, err
		}
		return run(), nil
	}
	if os.Geteuid() != 0 {
		return 0, errors.New("real nodes mount, make networks and control groups: that needs root")
	}
	defer removeControlGroups()
	defer func() {
		for _, dir := range states {
			_ = os.Remove(dir) // If nobody else keeps anything there.
		}
	}()
	removeControlGroups() // Of one that was killed.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread() // The thread must last: the other process gets its signal when it ends.
	command := exec.Command(os.Args[0], os.Args[1:]...)
	command.Env = append(os.Environ(), isolated+"=1")
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if err := command.Start(); err != nil {
		return 0, fmt.Errorf("starting a process with namespaces of its own: %w", err)
	}
	go func() {
		<-signals // The first process of its namespace hears no other.
		_ = command.Process.Kill()
	}()
	var exited *exec.ExitError
	if err := command.Wait(); err != nil && !errors.As(err, &exited) {
		return 0, fmt.Errorf("waiting for the process with namespaces of its own: %w", err)
	}
	if status, ok := command.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 0, fmt.Errorf("the process with namespaces of its own was ended by %s", status.Signal())
	}
	return command.ProcessState.ExitCode(), nil
}

// furnish makes the namespaces a machine.
func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keeping mounts to ourselves: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	// Where parts of nodes write that cannot be told to do it elsewhere: sockets and network namespaces, what CNI remembers, links to logs.
	for _, dir := range append([]string{"/run", "/var/log"}, states...) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making a place to mount on: %w", err)
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("mounting an empty %s: %w", dir, err)
		}
	}
	return errors.Join(coverTunables(), showCores(coresOfANode), bringUpNetwork())
}

// tunables are settings of the whole kernel that kubelets insist on (setupKernelTunables). They find what they want in files that cover the real ones, and change
// nothing.
var tunables = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

func coverTunables() error {
	for name, value := range tunables {
		tunable, cover := filepath.Join("/proc/sys", name), filepath.Join("/run/tunables", name)
		if _, err := os.Stat(tunable); errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := writeFile(cover, value+"\n"); err != nil {
			return err
		}
		if err := unix.Mount(cover, tunable, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("covering %s: %w", tunable, err)
		}
	}
	return nil
}

// coresOfANode is how many cores each node says that it has, as those of the trial systems do. Requests are promises, which nobody checks, and what
// runs in tests asks for more than it uses.
const coresOfANode = 4

// showCores covers what the kernel tells of its processors. Those that the machine does not have are offline: a kubelet counts them, and pins nothing to
// them.
func showCores(cores int) error {
	const dir = "/sys/devices/system/"
	online, err := os.ReadFile(dir + "cpu/online")
	if err != nil {
		return fmt.Errorf("reading which processors there are: %w", err)
	}
	for _, of := range []string{"node", "cpu"} {
		if err := unix.Mount("tmpfs", dir+of, "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("covering %s: %w", dir+of, err)
		}
	}
	faults := []error{writeFile(dir+"cpu/online", string(online))}
	for core := range cores {
		topology := fmt.Sprintf("%scpu/cpu%d/topology/", dir, core)
		faults = append(faults, writeFile(topology+"core_id", fmt.Sprintln(core)), writeFile(topology+"physical_package_id", "0\n"))
	}
	return errors.Join(faults...)
}

// writeFile writes a file and makes the directory that it is in.
func writeFile(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
