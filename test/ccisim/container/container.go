package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Spec describes a container.
type Spec struct {
	// Root is an empty directory for the file system of the container, which only the container sees.
	Root string `json:"root"`
	// Program is a file of this machine with the program that is the image. It is in / and in /usr/local/bin. It may be
	// empty.
	Program string `json:"program,omitempty"`
	// Mounts are files and directories of this machine.
	Mounts []Mount `json:"mounts,omitempty"`
	// Hostname is the host name.
	Hostname string `json:"hostname"`
	// ReadOnly makes the file system read-only, except for Mounts.
	ReadOnly bool `json:"readOnly,omitempty"`
	// Rights are those of the first process.
	Rights Rights `json:"rights"`
}

// Mount is a file or directory of this machine in a container.
type Mount struct {
	// Source is its path on this machine.
	Source string `json:"source"`
	// Target is its path in the container.
	Target   string `json:"target"`
	ReadOnly bool   `json:"readOnly,omitempty"`
}

// Rights are the rights of a process.
type Rights struct {
	User   int   `json:"user"`
	Group  int   `json:"group"`
	Groups []int `json:"groups,omitempty"`
	// Capabilities are the bounding set: those that root has. Other users have none.
	Capabilities []Capability `json:"capabilities,omitempty"`
	// Dir is the working directory.
	Dir string `json:"dir"`
}

// Launch starts a command in a container.
type Launch struct {
	command *exec.Cmd
	// status receives what goes wrong, and is closed when the program of the command runs.
	status *os.File
	inner  *os.File
}

// Prepare returns how to start the command as the first process of a new container in a network namespace. The path of
// the command is looked up in the container.
func Prepare(command *exec.Cmd, spec Spec, network *os.File) (*Launch, error) {
	var err error
	paths := []*string{&spec.Root}
	if spec.Program != "" {
		paths = append(paths, &spec.Program)
	}
	spec.Mounts = slices.Clone(spec.Mounts)
	for i := range spec.Mounts {
		paths = append(paths, &spec.Mounts[i].Source)
	}
	for _, path := range paths { // Links of this machine would lead elsewhere in the container.
		if *path, err = filepath.EvalSymlinks(*path); err != nil {
			return nil, fmt.Errorf("preparing a container: %w", err)
		}
	}
	attributes(command).Cloneflags |= unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC
	return prepare(command, instructions{Spec: spec}, network)
}

// Join returns how to start the command in the container whose first process has a PID. The path of the command is
// looked up in the container.
func Join(command *exec.Cmd, rights Rights, pid int) (*Launch, error) {
	return prepare(command, instructions{Spec: Spec{Rights: rights}, Join: pid})
}

// instructions are what Init does.
type instructions struct {
	Spec
	// Join is the PID of the first process of the container, 0 for a new one.
	Join int `json:"join,omitempty"`
}

// variable has the instructions in the environment.
const variable = "CCISIM_CONTAINER"

// The file descriptors of Init.
const (
	statusFile  = 3
	networkFile = 4
)

func prepare(command *exec.Cmd, what instructions, files ...*os.File) (*Launch, error) {
	text, err := json.Marshal(what)
	if err != nil {
		return nil, fmt.Errorf("encoding a container: %w", err)
	}
	status, inner, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("creating a pipe for a container: %w", err)
	}
	// The error of a command that this machine lacks does not count.
	command.Path, command.Err = "/proc/self/exe", nil
	command.Env = append(command.Env, variable+"="+string(text))
	command.ExtraFiles = append([]*os.File{inner}, files...)
	return &Launch{command: command, status: status, inner: inner}, nil
}

func attributes(command *exec.Cmd) *syscall.SysProcAttr {
	if command.SysProcAttr == nil {
		command.SysProcAttr = &syscall.SysProcAttr{}
	}
	return command.SysProcAttr
}

// ready is written to the status before the program of the command replaces Init.
const ready = "."

// Start calls start, which starts the command, and returns when its program runs, or why it cannot. It is called once.
// The caller waits for the command only if there is no error.
func (l *Launch) Start(start func() error) error {
	defer l.status.Close()
	err := start()
	_ = l.inner.Close()
	if err != nil {
		return err
	}
	text, err := io.ReadAll(l.status)
	if err == nil && string(text) == ready {
		return nil
	}
	_ = l.command.Process.Kill()
	_ = l.command.Wait() // It was killed, if it has not failed before.
	switch {
	case err != nil:
		return fmt.Errorf("reading the status of a container: %w", err)
	case len(text) == 0:
		return errors.New("the container ended before its program was started")
	}
	return errors.New(strings.TrimPrefix(string(text), ready))
}
