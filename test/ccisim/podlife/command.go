package podlife

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
	corev1 "k8s.io/api/core/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"github.com/spillway-k8s/spillway/test/ccisim/container"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

// unprivileged is the ID of the user and group of commands if the simulator runs as root, and the user of ProcessImage.
const unprivileged = 65534

// pipeDelay is how long to wait for the output of an ended command whose children still have it open.
const pipeDelay = time.Second

// command is a process that is ready to be started.
type command struct {
	*exec.Cmd
	// launch starts it in a container with a file system of its own. It is nil without networks.
	launch *container.Launch
}

// commandIn prepares a command in the container of a running process.
func (c *Controller) commandIn(ctx context.Context, pod *objects.Pod, p *process, argv []string) (command, error) {
	run := command{Cmd: c.newCommand(ctx, pod, p.spec, p.environment, argv)}
	if !c.isIsolated() {
		return run, nil
	}
	rights, err := c.rightsOf(pod, p.spec)
	if err == nil {
		run.launch, err = container.Join(run.Cmd, rights, p.command.Process.Pid)
	}
	return run, err
}

// newCommand prepares a command with the environment of a container. Without networks it also has the user of the
// container, in the directory of its Pod. The command and its children get SIGKILL when ctx ends.
func (c *Controller) newCommand(
	ctx context.Context, pod *objects.Pod, spec *corev1.Container, environment, argv []string,
) *exec.Cmd {
	run := exec.CommandContext(ctx, argv[0], argv[1:]...)
	// A process group can be killed with the command's children. Pdeathsig kills the command if the simulator is killed.
	run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	run.Cancel = func() error { return syscall.Kill(-run.Process.Pid, syscall.SIGKILL) }
	run.WaitDelay = pipeDelay
	if c.isIsolated() {
		run.Env = append([]string{"PATH=" + containerPath, "HOME=/", "HOSTNAME=" + hostname(pod)}, environment...)
		return run
	}
	run.Dir = c.podDir(pod)
	run.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + run.Dir, "HOSTNAME=" + pod.Name}, environment...)
	if os.Geteuid() == 0 {
		run.SysProcAttr.Credential = c.userOf(pod, spec.Name)
	}
	return run
}

// start starts a prepared command by a function, on the thread that starts processes.
func (c *Controller) start(run command, by func() error) error {
	if run.launch == nil {
		return c.spawn(by)
	}
	return run.launch.Start(func() error { return c.spawn(by) })
}

// userOf returns the user and group of a container's processes without networks: those of its securityContext, unless
// that has no effect, or those of the image. Root is not given to any container.
func (c *Controller) userOf(pod *objects.Pod, container string) *syscall.Credential {
	user := &syscall.Credential{Uid: unprivileged, Gid: unprivileged}
	if c.cfg.Faults.Policies().IgnoreSecurityContext {
		return user
	}
	set := func(uid, gid *int64) {
		if uid != nil && *uid > 0 {
			user.Uid = uint32(*uid)
		}
		if gid != nil && *gid > 0 {
			user.Gid = uint32(*gid)
		}
	}
	if of := pod.Spec.SecurityContext; of != nil {
		set(of.RunAsUser, of.RunAsGroup)
	}
	for _, spec := range objects.AllContainers(pod) {
		if of := spec.SecurityContext; of != nil && spec.Name == container {
			set(of.RunAsUser, of.RunAsGroup)
		}
	}
	return user
}

// podDir returns the working directory of a Pod's processes.
func (c *Controller) podDir(pod *objects.Pod) string {
	return filepath.Join(c.processDir, string(pod.UID))
}

// makePodDir creates podDir. Without networks, the containers may have several users, and all write there.
func (c *Controller) makePodDir(pod *objects.Pod) error {
	dir := c.podDir(pod)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("creating the directory of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	if os.Geteuid() == 0 && !c.isIsolated() {
		return os.Chmod(dir, 0o777|os.ModeSticky)
	}
	return nil
}

// spawn calls start on the one thread that starts processes. The kernel sends Pdeathsig when the thread ends that
// started the process, so this thread must last as long as the simulator.
func (c *Controller) spawn(start func() error) error {
	c.spawnOnce.Do(func() {
		go func() {
			runtime.LockOSThread()
			for {
				select {
				case next := <-c.spawning:
					next()
				case <-c.stopped:
					return
				}
			}
		}()
	})
	result := make(chan error, 1)
	select {
	case c.spawning <- func() { result <- start() }:
		return <-result
	case <-c.stopped:
		return errors.New("the simulator has ended")
	}
}

// runOnPipes runs a command with pipes, and returns when it has ended.
func (c *Controller) runOnPipes(run command, in io.Reader, out, errs io.Writer) error {
	run.Stdout, run.Stderr = out, errs
	if in != nil {
		// Cmd.Stdin is not used, because Wait would wait for the end of the input.
		pipe, err := run.StdinPipe()
		if err != nil {
			return fmt.Errorf("failed to exec in container: %w", err)
		}
		go func() {
			_, _ = io.Copy(pipe, in) // A command need not read its input.
			_ = pipe.Close()
		}()
	}
	if err := c.start(run, run.Start); err != nil {
		return fmt.Errorf("failed to exec in container: %w", err)
	}
	defer killGroup(run.Cmd)
	return exitError(run.Wait())
}

// runOnTerminal runs a command with a terminal, and returns when it has ended.
func (c *Controller) runOnTerminal(
	run command, in io.Reader, out io.Writer, resize <-chan remotecommand.TerminalSize,
) error {
	run.SysProcAttr.Setpgid = false // The terminal starts a session, which is a process group.
	var terminal *os.File
	err := c.start(run, func() (err error) {
		terminal, err = pty.StartWithAttrs(run.Cmd, nil, withTerminal(run.SysProcAttr))
		return err
	})
	if err != nil {
		return fmt.Errorf("failed to exec in container: %w", err)
	}
	defer terminal.Close()
	defer killGroup(run.Cmd)
	stopSizing := follow(terminal, resize)
	defer stopSizing()
	if in != nil {
		go func() { _, _ = io.Copy(terminal, in) }()
	}
	_, _ = io.Copy(out, terminal) // It returns an error when the last process has closed the other side.
	return exitError(run.Wait())
}

// follow applies new sizes to a terminal until the returned function is called.
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

// killGroup kills all processes that a command has left running.
func killGroup(run *exec.Cmd) { _ = syscall.Kill(-run.Process.Pid, syscall.SIGKILL) }

func withTerminal(attributes *syscall.SysProcAttr) *syscall.SysProcAttr {
	attributes.Setsid, attributes.Setctty = true, true
	return attributes
}

// exitError returns how a command ended, as the error that the streaming server translates for the client, nil for 0.
func exitError(err error) error {
	code, err := exitCode(err)
	if err != nil || code == 0 {
		return err
	}
	return utilexec.CodeExitError{Err: fmt.Errorf("exit status %d", code), Code: int(code)}
}

// exitCode returns how a process ended as a shell does: its exit code, or 128 plus the number of the signal.
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
