package ccisim

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"github.com/spillway-k8s/spillway/internal/serve"
)

// execParameters are the query parameters of pods/exec.
var execParameters = []string{"command", "container", "stdin", "stdout", "stderr", "tty"}

// serveExec answers pods/exec: a WebSocket that speaks v4.channel.k8s.io and nothing else, cut when no frame comes or goes for ExecIdle.
func (s *Sim) serveExec(c *call) (*reply, *apiError) {
	query := c.r.URL.Query()
	s.countIgnoredParameters(c, query, execParameters)
	if c.r.Header.Get(headerAuthToken) == "" && !s.Policies().SignedExec {
		return nil, &apiError{status: http.StatusUnauthorized, body: htmlPage("CloudWAF: no token"), words: "the handshake has no X-Auth-Token"}
	}
	options := &remotecommand.Options{
		Stdin: isTrue(query.Get("stdin")), Stdout: isTrue(query.Get("stdout")), Stderr: isTrue(query.Get("stderr")), TTY: isTrue(query.Get("tty")),
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	pod, container, refusal := s.findRunning(c, query.Get("container"))
	if refusal != nil {
		return nil, refusal
	}
	if refusal := checkExec(c, options, query["command"]); refusal != nil {
		return nil, refusal
	}
	run := &execution{s: s, pod: pod, container: container, wantsStdin: options.Stdin, process: s.processes[containerKey{pod.UID, container}]}
	return &reply{status: http.StatusSwitchingProtocols, upgrade: func(w http.ResponseWriter, r *http.Request) {
		w, r, hangUp := serve.UntilHangUp(w, r)
		defer hangUp()
		r.Header.Set("Sec-WebSocket-Protocol", remotecommand.StreamProtocolV4Name)
		remotecommand.ServeExec(w, r, run, pod.Name, string(pod.UID), container, query["command"], options, s.cfg.ExecIdle,
			remotecommand.DefaultStreamCreationTimeout, []string{remotecommand.StreamProtocolV4Name})
	}}, nil
}

// checkExec refuses what the service is known to refuse: a request that is no handshake, and other protocols.
func checkExec(c *call, options *remotecommand.Options, command []string) *apiError {
	var offered []string
	for protocol := range strings.SplitSeq(c.r.Header.Get("Sec-WebSocket-Protocol"), ",") {
		offered = append(offered, strings.TrimSpace(protocol))
	}
	switch {
	case len(command) == 0:
		return badRequest("", "you must specify at least 1 command")
	case !options.Stdin && !options.Stdout && !options.Stderr:
		return badRequest("", "you must specify at least 1 of stdin, stdout, stderr")
	case !strings.EqualFold(c.r.Header.Get("Upgrade"), "websocket"):
		return badRequest("", "Upgrade request required")
	case !slices.Contains(offered, remotecommand.StreamProtocolV4Name):
		return forbidden(pods, c.name, "none of the protocols %v is supported: %s is", offered, remotecommand.StreamProtocolV4Name)
	}
	return nil
}

// findRunning finds a container that runs. Holds mu for reading.
func (s *Sim) findRunning(c *call, asked string) (*Pod, string, *apiError) {
	if refusal := s.checkNamespace(c); refusal != nil {
		return nil, "", refusal
	}
	pod, ok := s.store.get(pods, key{c.namespace, c.name}).(*Pod)
	if !ok {
		return nil, "", notFound(pods, c.name)
	}
	container, refusal := chooseContainer(pod, asked)
	if refusal != nil {
		return nil, "", refusal
	}
	if status := containerStatus(pod, container); status == nil || status.State.Running == nil {
		return nil, "", badRequest("", "container %s of pod %s is not running", container, pod.Name)
	}
	return pod, container, nil
}

// execution is one command in a container.
type execution struct {
	s          *Sim
	pod        *Pod
	container  string
	wantsStdin bool
	// process is the container's; nil for one that is only simulated.
	process *process
}

// ExecInContainer implements remotecommand.Executor. The command ends with its container, and when the caller hangs up.
func (e *execution) ExecInContainer(ctx context.Context, _, _, _ string, command []string, in io.Reader, out, errs io.WriteCloser,
	tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	if e.process == nil {
		return fmt.Errorf("failed to exec in container: exec: %q: executable file not found in $PATH: "+
			"container %s is simulated, and only those of image %s are processes", command[0], e.container, ProcessImage)
	}
	err := e.run(ctx, command, in, out, errs, tty, resize)
	if ctx.Err() != nil {
		panic(http.ErrAbortHandler) // The stream was cut, and the command with it: nobody is told how it ended.
	}
	return err
}

func (e *execution) run(ctx context.Context, command []string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-e.process.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	run := e.s.newCommand(ctx, e.pod, e.process.environment, command)
	if !e.wantsStdin {
		in = nil
	}
	if tty {
		return e.s.runOnTerminal(run, in, out, resize)
	}
	return e.s.runOnPipes(run, in, out, errs)
}
