package podlife

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// containerKey names a container of a Pod. Other Pods may have had the same name.
type containerKey struct {
	pod  types.UID
	name string
}

// process is the running process of a container.
type process struct {
	pod       types.NamespacedName
	container containerKey
	kill      context.CancelFunc
	command   *exec.Cmd
	// spec is the container at the start.
	spec *corev1.Container
	// environment is that of the start. Commands of exec get the same.
	environment []string
	// ended is closed when the process has ended.
	ended chan struct{}
	// started, ready and failed are what probes have found. They are used inside View and Update of the store only.
	started, ready, failed bool
	// terminated is when SIGTERM was sent, zero before.
	terminated time.Time
}

// isProcess reports whether a container is a real process.
func (c *Controller) isProcess(container *corev1.Container) bool {
	return c.cfg.Processes && (objects.IsProcessImage(container.Image) || c.programOf(container.Image) != "")
}

// startProcess starts the process of a container. The container ends when the process does.
func (c *Controller) startProcess(tx store.Tx, pod *objects.Pod, spec *corev1.Container) error {
	argv := c.argumentsOf(spec)
	if len(argv) == 0 {
		return errors.New("no command specified")
	}
	if err := c.makePodDir(pod); err != nil {
		return err
	}
	ctx, kill := context.WithCancel(context.Background())
	p := &process{
		pod: objects.KeyOf(pod), container: containerKey{pod.UID, spec.Name}, kill: kill, spec: spec.DeepCopy(),
		environment: environment(tx, pod, spec), ended: make(chan struct{}),
	}
	run := command{Cmd: c.newCommand(ctx, pod, spec, p.environment, argv)}
	log, _ := c.Logs(tx.View, pod, spec.Name)
	out, errs := &logWriter{log: log, now: c.now}, &logWriter{log: log, now: c.now}
	run.Stdout, run.Stderr = out, errs
	var err error
	if c.isIsolated() {
		run.launch, err = c.enclose(tx, pod, spec, run.Cmd)
	}
	if err == nil {
		err = c.start(run, run.Start)
	}
	if err != nil {
		kill()
		return fmt.Errorf("failed to create containerd task: %w", err)
	}
	p.command = run.Cmd
	c.processes[p.container] = p
	if c.isIsolated() {
		c.probe(pod.DeepCopy(), p)
	}
	podName, name := pod.Name, spec.Name
	go func() {
		code, err := exitCode(run.Wait())
		if err != nil {
			c.cfg.Logger.Error("Waiting for a process failed", "pod", podName, "container", name, "error", err)
		}
		out.end()
		errs.end()
		c.processEnded(p, code)
	}()
	return nil
}

// processEnded ends the container of an ended process, unless the container has ended for another reason.
func (c *Controller) processEnded(p *process, code int32) {
	c.store.Update(func(tx store.Tx) {
		close(p.ended)
		killGroup(p.command)
		p.kill()
		if c.processes[p.container] != p {
			return
		}
		delete(c.processes, p.container)
		if pod := tx.Pod(p.pod.Namespace, p.pod.Name); pod != nil && pod.UID == p.container.pod {
			// An error says that the container has ended for another reason.
			_ = c.finishContainer(tx, pod, p.container.name, code)
		}
	})
}

// terminate sends SIGTERM once, as the kubelet does.
func (p *process) terminate(now time.Time) {
	if p.terminated.IsZero() {
		p.terminated = now
		_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGTERM) // The process may have ended already.
	}
}

// killProcess kills the process of an ended container, if it has one.
func (c *Controller) killProcess(_ store.Tx, container containerKey) {
	if p := c.processes[container]; p != nil {
		delete(c.processes, container)
		p.kill()
	}
}

// dropProcesses kills the processes of a Pod and removes its directory.
func (c *Controller) dropProcesses(tx store.Tx, pod *objects.Pod) {
	for _, container := range objects.AllContainers(pod) {
		c.killProcess(tx, containerKey{pod.UID, container.Name})
	}
	c.closeNetwork(tx, pod)
	if c.processDir != "" {
		if err := os.RemoveAll(c.podDir(pod)); err != nil {
			c.cfg.Logger.Error("Removing a pod's directory failed", "pod", pod.Name, "error", err)
		}
	}
}

// endProcesses kills all processes, and returns when they have ended.
func (c *Controller) endProcesses() {
	var ending []*process
	c.store.Update(func(tx store.Tx) {
		for container, p := range c.processes {
			ending = append(ending, p)
			c.killProcess(tx, container)
		}
	})
	for _, p := range ending {
		<-p.ended
	}
}

// logWriter writes the output of a process to the log of its container, line by line.
type logWriter struct {
	log  *Log
	now  func() time.Time
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
		w.log.append(w.now(), string(line)) // A log that has ended drops the line.
		w.rest = rest
	}
}

// end writes a last line without a line end.
func (w *logWriter) end() {
	if len(w.rest) > 0 {
		w.log.append(w.now(), string(w.rest))
	}
}
