package ccisim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ProcessImage is the image of containers that are real processes of this machine, where Config.Processes allows it: the container's command
// and arguments, in a directory of its Pod. Any tag will do.
const ProcessImage = "ccisim/process"

// containerKey names a container of a Pod that may have namesakes.
type containerKey struct {
	pod  types.UID
	name string
}

// process is the running process of a container.
type process struct {
	pod       key
	container containerKey
	kill      context.CancelFunc
	command   *exec.Cmd
	// environment is what it was started with, for commands beside it.
	environment []string
	// ended is closed when it has ended.
	ended chan struct{}
	// asked says that it got SIGTERM.
	asked bool
}

// isProcess tells containers that are real processes.
func (s *Sim) isProcess(c *corev1.Container) bool {
	return s.cfg.Processes && (c.Image == ProcessImage || strings.HasPrefix(c.Image, ProcessImage+":"))
}

// startProcess starts the process of a container and follows it. Holds mu.
func (s *Sim) startProcess(pod *Pod, c *corev1.Container) error {
	argv := append(append([]string{}, c.Command...), c.Args...)
	if len(argv) == 0 {
		return errors.New("no command specified")
	}
	if err := s.makePodDir(pod); err != nil {
		return err
	}
	ctx, kill := context.WithCancel(context.Background())
	environment := s.environment(pod, c)
	command := s.newCommand(ctx, pod, environment, argv)
	log := s.logs[pod.UID][c.Name].current
	out, errs := &logWriter{s: s, log: log}, &logWriter{s: s, log: log}
	command.Stdout, command.Stderr = out, errs
	if err := s.spawn(command.Start); err != nil {
		kill()
		return fmt.Errorf("failed to create containerd task: %w", err)
	}
	p := &process{
		pod: keyOf(pod), container: containerKey{pod.UID, c.Name}, kill: kill, command: command, environment: environment, ended: make(chan struct{}),
	}
	s.processes[p.container] = p
	go func() {
		code, err := exitCode(command.Wait())
		if err != nil {
			s.cfg.Logger.Error("Waiting for a process failed", "pod", pod.Name, "container", c.Name, "error", err)
		}
		out.end()
		errs.end()
		s.processEnded(p, code)
	}()
	return nil
}

// processEnded brings the end of a process into its Pod, unless the container has ended otherwise.
func (s *Sim) processEnded(p *process, code int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(p.ended)
	endGroup(p.command)
	p.kill()
	if s.processes[p.container] != p {
		return
	}
	delete(s.processes, p.container)
	if pod, ok := s.store.get(pods, p.pod).(*Pod); ok && pod.UID == p.container.pod {
		// A container that has ended already ended in another way.
		_ = s.endContainer(pod, p.container.name, code)
	}
}

// askToEnd sends SIGTERM, once, as the kubelet does.
func (p *process) askToEnd() {
	if !p.asked {
		p.asked = true
		_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGTERM) // It may have ended by itself.
	}
}

// killProcess ends the process of a container that has ended for the Pod. Holds mu.
func (s *Sim) killProcess(container containerKey) {
	if p := s.processes[container]; p != nil {
		delete(s.processes, container)
		p.kill()
	}
}

// dropProcesses ends what a Pod has of processes and files. Holds mu.
func (s *Sim) dropProcesses(pod *Pod) {
	for _, c := range allContainers(pod) {
		s.killProcess(containerKey{pod.UID, c.Name})
	}
	if s.processDir != "" {
		if err := os.RemoveAll(s.podDir(pod)); err != nil {
			s.cfg.Logger.Error("Removing a pod's directory failed", "pod", pod.Name, "error", err)
		}
	}
}

// endProcesses ends all processes, and returns when they have ended.
func (s *Sim) endProcesses() {
	s.mu.Lock()
	var ending []*process
	for container, p := range s.processes {
		ending = append(ending, p)
		s.killProcess(container)
	}
	s.mu.Unlock()
	for _, p := range ending {
		<-p.ended
	}
}

// logWriter writes what a process says into its container's log, line by line.
type logWriter struct {
	s    *Sim
	log  *logStream
	rest []byte
}

// Write implements io.Writer.
func (w *logWriter) Write(text []byte) (int, error) {
	w.rest = append(w.rest, text...)
	for {
		line, rest, whole := bytes.Cut(w.rest, []byte("\n"))
		if !whole {
			return len(text), nil
		}
		w.append(string(line))
		w.rest = rest
	}
}

// end writes what has no line end.
func (w *logWriter) end() {
	if len(w.rest) > 0 {
		w.append(string(w.rest))
	}
}

func (w *logWriter) append(line string) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if !w.log.ended {
		w.log.append(w.s.now(), line)
	}
}
