package podlife

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// Execution runs one command in a running container.
type Execution struct {
	c          *Controller
	pod        *objects.Pod
	container  string
	wantsStdin bool
	// process is the container's, nil for a container that is only simulated.
	process *process
}

// NewExecution returns an execution in a running container.
func (c *Controller) NewExecution(_ store.View, pod *objects.Pod, container string, wantsStdin bool) *Execution {
	return &Execution{
		c: c, pod: pod, container: container, wantsStdin: wantsStdin,
		process: c.processes[containerKey{pod.UID, container}],
	}
}

// ExecInContainer implements remotecommand.Executor. The command is killed when its container ends, and when the client
// closes the connection.
func (e *Execution) ExecInContainer(
	ctx context.Context, _, _, _ string, command []string, in io.Reader, out, errs io.WriteCloser, tty bool,
	resize <-chan remotecommand.TerminalSize, _ time.Duration,
) error {
	if e.process == nil && e.simulate(command, out) {
		return nil
	}
	if e.process == nil {
		return fmt.Errorf("failed to exec in container: exec: %q: executable file not found in $PATH: "+
			"container %s is simulated, and only those of image %s are processes",
			command[0], e.container, objects.ProcessImage)
	}
	err := e.run(ctx, command, in, out, errs, tty, resize)
	if ctx.Err() != nil {
		// The stream was cut, and the command killed with it. The client gets no exit code.
		panic(http.ErrAbortHandler)
	}
	return err
}

func (e *Execution) run(
	ctx context.Context, command []string, in io.Reader, out, errs io.Writer, tty bool,
	resize <-chan remotecommand.TerminalSize,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-e.process.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	run, err := e.c.commandIn(ctx, e.pod, e.process, command)
	if err != nil {
		return fmt.Errorf("failed to exec in container: %w", err)
	}
	if !e.wantsStdin {
		in = nil
	}
	if tty {
		return e.c.runOnTerminal(run, in, out, resize)
	}
	return e.c.runOnPipes(run, in, out, errs)
}
