package ccisim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/creack/pty"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// nobody is whom commands run as where the simulator runs as root.
const nobody = 65534

// pipeDelay is how long a command's output is waited for that its children still hold.
const pipeDelay = time.Second

// newCommand prepares a command in the directory and with the environment of a container. It and its children get SIGKILL when ctx ends.
func (s *Sim) newCommand(ctx context.Context, pod *Pod, environment, command []string) *exec.Cmd {
	run := exec.CommandContext(ctx, command[0], command[1:]...)
	run.Dir = s.podDir(pod)
	run.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + run.Dir, "HOSTNAME=" + pod.Name}, environment...)
	// A group of its own can be ended with its children. The signal comes when the simulator is killed.
	run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		run.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	run.Cancel = func() error { return syscall.Kill(-run.Process.Pid, syscall.SIGKILL) }
	run.WaitDelay = pipeDelay
	return run
}

// podDir is the working directory of a Pod's processes.
func (s *Sim) podDir(pod *Pod) string { return filepath.Join(s.processDir, string(pod.UID)) }

// makePodDir makes it.
func (s *Sim) makePodDir(pod *Pod) error {
	dir := s.podDir(pod)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the directory of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	if os.Geteuid() == 0 {
		return os.Chown(dir, nobody, nobody)
	}
	return nil
}

// spawn runs a start on the one thread that starts processes: the kernel tells children of the death of the thread that started them, so it
// has to last as long as the simulator does.
func (s *Sim) spawn(start func() error) error {
	s.spawnOnce.Do(func() {
		go func() {
			runtime.LockOSThread()
			for {
				select {
				case next := <-s.spawning:
					next()
				case <-s.stopped:
					return
				}
			}
		}()
	})
	result := make(chan error, 1)
	select {
	case s.spawning <- func() { result <- start() }:
		return <-result
	case <-s.stopped:
		return errors.New("the simulator has ended")
	}
}

// runOnPipes runs a command to its end.
func (s *Sim) runOnPipes(run *exec.Cmd, in io.Reader, out, errs io.Writer) error {
	run.Stdout, run.Stderr = out, errs
	if in != nil {
		// Not Cmd.Stdin: the end of the command must not wait for the end of its input.
		pipe, err := run.StdinPipe()
		if err != nil {
			return fmt.Errorf("failed to exec in container: %w", err)
		}
		go func() {
			_, _ = io.Copy(pipe, in) // A command that does not read is none of ours.
			_ = pipe.Close()
		}()
	}
	if err := s.spawn(run.Start); err != nil {
		return fmt.Errorf("failed to exec in container: %w", err)
	}
	defer endGroup(run)
	return exitError(run.Wait())
}

// runOnTerminal runs a command on a terminal of its own to its end.
func (s *Sim) runOnTerminal(run *exec.Cmd, in io.Reader, out io.Writer, resize <-chan remotecommand.TerminalSize) error {
	run.SysProcAttr.Setpgid = false // A session of its own is a group of its own.
	var terminal *os.File
	err := s.spawn(func() (err error) {
		terminal, err = pty.StartWithAttrs(run, nil, withTerminal(run.SysProcAttr))
		return err
	})
	if err != nil {
		return fmt.Errorf("failed to exec in container: %w", err)
	}
	defer terminal.Close()
	defer endGroup(run)
	stopSizing := follow(terminal, resize)
	defer stopSizing()
	if in != nil {
		go func() { _, _ = io.Copy(terminal, in) }()
	}
	_, _ = io.Copy(out, terminal) // Ends with an error when the last one has closed the other side.
	return exitError(run.Wait())
}

// follow gives a terminal its sizes until the returned function is called.
func follow(terminal *os.File, resize <-chan remotecommand.TerminalSize) (stop func()) {
	stopping, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case size, more := <-resize:
				if !more {
					return
				}
				_ = pty.Setsize(terminal, &pty.Winsize{Rows: size.Height, Cols: size.Width}) // The command may have ended.
			case <-stopping:
				return
			}
		}
	}()
	return func() {
		close(stopping)
		<-stopped
	}
}

// endGroup ends what a command has left running.
func endGroup(run *exec.Cmd) { _ = syscall.Kill(-run.Process.Pid, syscall.SIGKILL) }

func withTerminal(attributes *syscall.SysProcAttr) *syscall.SysProcAttr {
	attributes.Setsid, attributes.Setctty = true, true
	return attributes
}

// exitError is how a command ended, in the form that the service's own servers know; nil for 0.
func exitError(err error) error {
	code, err := exitCode(err)
	if err != nil || code == 0 {
		return err
	}
	return utilexec.CodeExitError{Err: fmt.Errorf("exit status %d", code), Code: int(code)}
}

// exitCode reads how a process ended as a shell does: 128 and the number of the signal that ended it.
func exitCode(err error) (int32, error) {
	exited, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return 0, nil
	case !ok:
		return 0, fmt.Errorf("waiting for the command: %w", err)
	}
	if status, ok := exited.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int32(status.Signal()), nil
	}
	return int32(exited.ExitCode()), nil
}
