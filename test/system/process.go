package system

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/wait"
)

// The environment of each process contains the directory of its system and its own name. They identify the process even
// if its parent has ended, its process ID was reused, or its pid file is missing.
const (
	envDir  = "SPILLWAY_TRIAL_DIR"
	envName = "SPILLWAY_TRIAL_PROCESS"
)

// stopGrace is how long a process may take to end after SIGTERM.
const stopGrace = 15 * time.Second

// processes starts and finds the processes of the system in dir.
type processes struct {
	dir string
	// starter runs a function on the thread that starts processes. The kernel signals a process with a parent-death signal
	// when the thread that started it ends, so that thread must not end. starter is nil if processes outlive their parent.
	starter chan func()
	// environment is added to that of each process.
	environment []string
}

func newProcesses(dir string, dieWithParent bool, environment ...string) *processes {
	p := &processes{dir: dir, environment: environment}
	if dieWithParent {
		p.starter = make(chan func())
		go func() {
			runtime.LockOSThread()
			for start := range p.starter {
				start()
			}
		}()
	}
	return p
}

// close ends the thread of the starter, and with it every running process that it started.
func (p *processes) close() {
	if p.starter != nil {
		close(p.starter)
		p.starter = nil
	}
}

func (p *processes) logFile(name string) string { return filepath.Join(p.dir, "logs", name+".log") }
func (p *processes) pidFile(name string) string { return filepath.Join(p.dir, "pids", name) }

// start runs the binary in its own session and appends its output to its log.
func (p *processes) start(name, binary string, args []string) error {
	log, err := os.OpenFile(p.logFile(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("opening the log of %s: %w", name, err)
	}
	defer log.Close()
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = log, log
	// The process does not inherit the caller's environment: a proxy set there would affect the calls between processes.
	cmd.Env = append([]string{
		envDir + "=" + p.dir, envName + "=" + name, "HOME=" + p.dir, "PATH=" + os.Getenv("PATH"),
	}, p.environment...)
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.run(cmd); err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // Reaps the process. Its log shows how it ended.
	}()
	if err := os.WriteFile(p.pidFile(name), []byte(strconv.Itoa(cmd.Process.Pid)+"\n"), 0o644); err != nil {
		err = fmt.Errorf("writing the process ID of %s: %w", name, err)
		return errors.Join(err, cmd.Process.Kill())
	}
	// The environment that identifies the process becomes visible shortly after the start.
	for p.find(name) == nil {
		select {
		case <-ended:
			return nil // The caller detects this when it waits for the process to be ready.
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

func (p *processes) run(cmd *exec.Cmd) error {
	if p.starter == nil {
		return cmd.Start()
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	result := make(chan error)
	p.starter <- func() { result <- cmd.Start() }
	return <-result
}

// find returns the running process of that name, or nil.
func (p *processes) find(name string) *os.Process {
	content, err := os.ReadFile(p.pidFile(name))
	if err != nil {
		return nil
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return nil
	}
	if found, process := p.own(pid); found == name {
		return process
	}
	return nil
}

// namedProcess is a running process of the system.
type namedProcess struct {
	*os.Process
	name string
}

// all returns every running process of the system, with or without a pid file.
func (p *processes) all() ([]namedProcess, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var running []namedProcess
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if name, process := p.own(pid); process != nil {
			running = append(running, namedProcess{process, name})
		}
	}
	return running, nil
}

// own returns the name of the process and a handle on it, if the process belongs to this system and has not ended. It
// takes the handle before it reads the environment, so a signal sent through the handle never reaches a later process
// with the same ID.
func (p *processes) own(pid int) (string, *os.Process) {
	process, err := os.FindProcess(pid)
	if err != nil {
		return "", nil
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)) // Empty if the process has ended.
	if err != nil {
		return "", nil
	}
	var dir, name string
	for variable := range bytes.SplitSeq(environ, []byte{0}) {
		switch key, value, _ := strings.Cut(string(variable), "="); key {
		case envDir:
			dir = value
		case envName:
			name = value
		}
	}
	if dir != p.dir || name == "" {
		return "", nil
	}
	return name, process
}

// end sends the signal and waits until the process has ended. After the grace period it sends SIGKILL.
func (p *processes) end(
	ctx context.Context, name string, process *os.Process, signal syscall.Signal, grace time.Duration,
) error {
	gone := func(context.Context) (bool, error) {
		_, running := p.own(process.Pid)
		return running == nil, nil
	}
	if err := process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %s to %s: %w", signal, name, err)
	}
	err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, grace, true, gone)
	if wait.Interrupted(err) && ctx.Err() == nil && signal != syscall.SIGKILL {
		return p.end(ctx, name, process, syscall.SIGKILL, stopGrace)
	}
	if err != nil {
		return fmt.Errorf("waiting for %s to end after %s: %w", name, signal, err)
	}
	if err := os.Remove(p.pidFile(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the process ID of %s: %w", name, err)
	}
	return nil
}

// endAll ends every process of the system. Clients end before their servers: an API server without etcd takes minutes
// to end and keeps its port.
func (p *processes) endAll(ctx context.Context) error {
	for _, kept := range [][]string{{CCISim, APIServer, Etcd}, {APIServer, Etcd}, {Etcd}, {}} {
		running, err := p.all()
		if err != nil {
			return err
		}
		var group errgroup.Group
		for _, process := range running {
			if !slices.Contains(kept, process.name) {
				group.Go(func() error { return p.end(ctx, process.name, process.Process, syscall.SIGTERM, stopGrace) })
			}
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// tail returns the last lines of the process's log, for error messages.
func (p *processes) tail(name string) string {
	content, err := os.ReadFile(p.logFile(name))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
