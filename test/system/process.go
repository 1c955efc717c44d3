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

// Each process carries its system and its name in its environment: that is how it is known again, whatever became of its
// parent, of its process id and of the file that this was written to.
const (
	envDir  = "SPILLWAY_TRIAL_DIR"
	envName = "SPILLWAY_TRIAL_PROCESS"
)

// stopGrace is how long a process may take to end by itself when it is asked to.
const stopGrace = 15 * time.Second

// processes starts and finds the processes of the system that lives in dir.
type processes struct {
	dir string
	// starter runs a function on the thread that starts processes. A process that shall die with its parent gets its
	// signal when the thread that started it ends, so that thread has to last; nil where processes outlive us.
	starter chan func()
}

func newProcesses(dir string, dieWithParent bool) *processes {
	p := &processes{dir: dir}
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

// close ends the thread of the starter, and with it every process that it started and that still runs.
func (p *processes) close() {
	if p.starter != nil {
		close(p.starter)
		p.starter = nil
	}
}

func (p *processes) logFile(name string) string { return filepath.Join(p.dir, "logs", name+".log") }
func (p *processes) pidFile(name string) string { return filepath.Join(p.dir, "pids", name) }

// start runs the binary in a session of its own, its output appended to its log.
func (p *processes) start(name, binary string, args []string) error {
	log, err := os.OpenFile(p.logFile(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("opening the log of %s: %w", name, err)
	}
	defer log.Close()
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = log, log
	// Nothing of the caller's environment comes along: a proxy set there would come between the processes.
	cmd.Env = []string{envDir + "=" + p.dir, envName + "=" + name, "HOME=" + p.dir, "PATH=" + os.Getenv("PATH")}
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.run(cmd); err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // Takes the process off the kernel's table; how it ended is in its log.
	}()
	if err := os.WriteFile(p.pidFile(name), []byte(strconv.Itoa(cmd.Process.Pid)+"\n"), 0o644); err != nil {
		return errors.Join(fmt.Errorf("writing the process id of %s: %w", name, err), cmd.Process.Kill())
	}
	// The environment, by which it is known, becomes visible a moment after the start.
	for p.find(name) == nil {
		select {
		case <-ended:
			return nil // Whoever waits for it to be ready will see that.
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

// find returns the running process of that name, or nil if there is none.
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

// all returns every running process of the system, whether a file knows of it or not.
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

// own returns a handle on the process and its name if it is one of this system's and has not ended. The handle is taken
// before the process is looked at, so a signal sent through it cannot reach a later process with the same id.
func (p *processes) own(pid int) (string, *os.Process) {
	process, err := os.FindProcess(pid)
	if err != nil {
		return "", nil
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)) // Empty for a process that has ended.
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

// end sends the signal, waits until the process is gone and sends SIGKILL if that takes longer than the grace.
func (p *processes) end(ctx context.Context, name string, process *os.Process, signal syscall.Signal, grace time.Duration) error {
	gone := func(context.Context) (bool, error) {
		_, running := p.own(process.Pid)
		return running == nil, nil
	}
	if err := process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %s to %s: %w", signal, name, err)
	}
	err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, grace, true, gone)
	if wait.Interrupted(err) && ctx.Err() == nil && signal != syscall.SIGKILL {
		return p.end(ctx, name, process, syscall.SIGKILL, grace)
	}
	if err != nil {
		return fmt.Errorf("waiting for %s to end after %s: %w", name, signal, err)
	}
	if err := os.Remove(p.pidFile(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forgetting the process id of %s: %w", name, err)
	}
	return nil
}

// endAll ends every process of the system. Clients end before what they talk to: an API server whose etcd went first hangs on
// for minutes and keeps its port.
func (p *processes) endAll(ctx context.Context) error {
	for _, stays := range [][]string{{CCISim, APIServer, Etcd}, {APIServer, Etcd}, {Etcd}, {}} {
		running, err := p.all()
		if err != nil {
			return err
		}
		var group errgroup.Group
		for _, process := range running {
			if !slices.Contains(stays, process.name) {
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
