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

// stateDirs are the directories where CNI stores its state, and where kubelets have a socket for device plugins,
// whatever their other directories are.
var stateDirs = []string{"/var/lib/cni", "/var/lib/kubelet"}

// isolated is set in the environment of a process with its own namespaces.
const isolated = "SPILLWAY_MACHINE"

// Isolate runs a function in a process with its own namespaces for processes, mounts, the network, IPC and the host
// name, in which it can create a cluster. It is for TestMain, and returns the exit code. When the function returns, or
// when the calling process is killed, the kernel ends and removes everything that the function has started, mounted or
// configured. Files in other directories remain. If the process was killed, empty control groups remain too, until the
// next call.
//
// The only network is loopback, so nothing can be downloaded. Isolate needs root.
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
		if err := prepareNamespaces(); err != nil {
			return 0, err
		}
		return run(), nil
	}
	if os.Geteuid() != 0 {
		return 0, errors.New("real nodes need root: they mount file systems and create networks and control groups")
	}
	defer removeControlGroups()
	defer func() {
		for _, dir := range stateDirs {
			_ = os.Remove(dir) // Fails if another program uses it.
		}
	}()
	removeControlGroups() // Of a process that was killed.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread() // The kernel signals the other process when this thread ends, so it must not end.
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
		return 0, fmt.Errorf("starting a process with its own namespaces: %w", err)
	}
	go func() {
		<-signals // The first process of a PID namespace ignores all signals but SIGKILL.
		_ = command.Process.Kill()
	}()
	var exited *exec.ExitError
	if err := command.Wait(); err != nil && !errors.As(err, &exited) {
		return 0, fmt.Errorf("waiting for the process with its own namespaces: %w", err)
	}
	if status, ok := command.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 0, fmt.Errorf("the process with its own namespaces was ended by %s", status.Signal())
	}
	return command.ProcessState.ExitCode(), nil
}

// prepareNamespaces prepares the namespaces for nodes.
func prepareNamespaces() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	// Directories of node components that cannot be configured: sockets and network namespaces, the state of CNI, links to
	// logs.
	for _, dir := range append([]string{"/run", "/var/log"}, stateDirs...) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("creating a mount point: %w", err)
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("mounting an empty %s: %w", dir, err)
		}
	}
	return errors.Join(coverTunables(), showCores(coresOfANode), bringUpNetwork())
}

// tunables are kernel settings that kubelets require (setupKernelTunables). Files with the required values cover the
// real ones, so that nothing is changed.
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

// coresOfANode is the number of cores that each node reports, as in the trial systems. Requests are not enforced, and
// test workloads request more than they use.
const coresOfANode = 4

// showCores replaces the kernel's description of the processors. Processors that the machine does not have are offline:
// a kubelet counts them, but does not pin containers to them.
func showCores(cores int) error {
	const dir = "/sys/devices/system/"
	online, err := os.ReadFile(dir + "cpu/online")
	if err != nil {
		return fmt.Errorf("reading which processors are online: %w", err)
	}
	for _, of := range []string{"node", "cpu"} {
		if err := unix.Mount("tmpfs", dir+of, "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("covering %s: %w", dir+of, err)
		}
	}
	errs := []error{writeFile(dir+"cpu/online", string(online))}
	for core := range cores {
		topology := fmt.Sprintf("%scpu/cpu%d/topology/", dir, core)
		errs = append(errs, writeFile(topology+"core_id", fmt.Sprintln(core)),
			writeFile(topology+"physical_package_id", "0\n"))
	}
	return errors.Join(errs...)
}

// writeFile writes a file and creates its directory.
func writeFile(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("creating a directory: %w", err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
