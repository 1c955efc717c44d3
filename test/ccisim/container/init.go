package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// initialized is true after Init, in a process that is not that of a container.
var initialized bool

// exitFailed is the exit code of a process that could not become that of a container.
const exitFailed = 128

// Init must be the first that a program calls that starts containers. In the process of a container it does not return.
func Init() {
	text, isContainer := os.LookupEnv(variable)
	if !isContainer {
		initialized = true
		return
	}
	_ = os.Unsetenv(variable) // It is set.
	status := os.NewFile(statusFile, "status")
	code, err := run(text, status)
	if err != nil {
		fmt.Fprint(status, err)
		code = exitFailed
	}
	os.Exit(code)
}

// Check returns why this program cannot start containers.
func Check() error {
	switch {
	case !initialized:
		return errors.New("its main function must call Init first")
	case os.Geteuid() != 0:
		return errors.New("it needs root: containers have file systems and networks of their own")
	}
	return nil
}

// run becomes the process of a container, or in an existing container returns its exit code.
func run(text string, status *os.File) (code int, err error) {
	// Namespaces, capabilities and the signal at the end of the parent are those of a thread.
	runtime.LockOSThread()
	unix.CloseOnExec(statusFile)
	var what instructions
	if err := json.Unmarshal([]byte(text), &what); err != nil {
		return 0, fmt.Errorf("decoding the container: %w", err)
	}
	if what.Join != 0 {
		return what.join(status)
	}
	return 0, what.enter(status)
}

// enter makes the container, and replaces the process by that of the container.
func (s Spec) enter(status *os.File) error {
	unix.CloseOnExec(networkFile)
	if err := unix.Setns(networkFile, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the network of the Pod: %w", err)
	}
	if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
		return fmt.Errorf("setting the host name: %w", err)
	}
	if err := s.mount(); err != nil {
		return err
	}
	path, err := s.Rights.prepare()
	if err != nil {
		return err
	}
	if err := s.Rights.setUser(); err != nil {
		return err
	}
	// A change of the user has cleared the signal. If the parent has ended before it is set again, nothing reads the
	// status.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("requesting a signal at the end of the simulator: %w", err)
	}
	if _, err := status.WriteString(ready); err != nil {
		return fmt.Errorf("the simulator has ended: %w", err)
	}
	return fmt.Errorf("exec: %q: %w", os.Args[0], unix.Exec(path, os.Args, os.Environ()))
}

// join runs the command in an existing container, and returns its exit code.
func (what instructions) join(status *os.File) (code int, err error) {
	// Only a thread with its own root and working directory can enter a mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return 0, fmt.Errorf("separating the working directory: %w", err)
	}
	kinds := []string{"net", "uts", "ipc", "pid", "mnt"}
	var files []*os.File
	for _, kind := range kinds {
		file, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", what.Join, kind))
		if err != nil {
			return 0, fmt.Errorf("finding the container: %w", err)
		}
		defer file.Close()
		files = append(files, file)
	}
	for i, file := range files {
		if err := unix.Setns(int(file.Fd()), 0); err != nil {
			return 0, fmt.Errorf("entering the %s namespace of the container: %w", kinds[i], err)
		}
	}
	path, err := what.Rights.prepare()
	if err != nil {
		return 0, err
	}
	// Signals of a terminal are meant for the command, which has its own handlers.
	signal.Notify(make(chan os.Signal, 1), unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGHUP)
	command := &exec.Cmd{
		Path: path, Args: os.Args, Env: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{Credential: what.Rights.credential()},
	}
	if err := command.Start(); err != nil {
		return 0, fmt.Errorf("exec: %q: %w", os.Args[0], err)
	}
	if _, err := status.WriteString(ready); err != nil {
		return 0, fmt.Errorf("the simulator has ended: %w", err)
	}
	_ = status.Close()
	_ = command.Wait() // Its state says how it ended.
	ended, ok := command.ProcessState.Sys().(syscall.WaitStatus)
	if ok && ended.Signaled() {
		return 128 + int(ended.Signal()), nil
	}
	return command.ProcessState.ExitCode(), nil
}

// prepare gives the present thread the rights of the process, except for the user, and returns the path of the program.
func (r Rights) prepare() (path string, err error) {
	if err := os.Chdir(r.Dir); err != nil {
		return "", fmt.Errorf("changing to the working directory: %w", err)
	}
	if path, err = exec.LookPath(os.Args[0]); err != nil {
		return "", fmt.Errorf("exec: %q: executable file not found in $PATH", os.Args[0])
	}
	return path, limit(r.Capabilities)
}

// setUser makes the present process one of the user.
func (r Rights) setUser() error {
	if err := syscall.Setgroups(r.Groups); err != nil {
		return fmt.Errorf("setting the groups: %w", err)
	}
	if err := syscall.Setgid(r.Group); err != nil {
		return fmt.Errorf("setting the group: %w", err)
	}
	if err := syscall.Setuid(r.User); err != nil {
		return fmt.Errorf("setting the user: %w", err)
	}
	return nil
}

// credential is the same for a process that is started.
func (r Rights) credential() *syscall.Credential {
	credential := &syscall.Credential{Uid: uint32(r.User), Gid: uint32(r.Group)}
	for _, group := range r.Groups {
		credential.Groups = append(credential.Groups, uint32(group))
	}
	return credential
}
