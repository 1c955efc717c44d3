package kubelet

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/serve"
	"github.com/spillway-k8s/spillway/vnode/cci"
)

const (
	// idleTimeout is the time after which an idle stream is closed. Source: Kubernetes v1.36,
	// pkg/kubelet/apis/config/v1beta1/defaults.go (streamingConnectionIdleTimeout).
	idleTimeout = 4 * time.Hour
	// creationTimeout is the time in which the caller must open its streams.
	creationTimeout = remotecommand.DefaultStreamCreationTimeout
)

// streamProtocols are the protocols over SPDY, newest first. The API server uses SPDY to connect to kubelets.
var streamProtocols = []string{
	remotecommand.StreamProtocolV4Name, remotecommand.StreamProtocolV3Name,
	remotecommand.StreamProtocolV2Name, remotecommand.StreamProtocolV1Name,
}

// execHandler serves /exec.
type execHandler struct {
	pods   Pods
	logger *slog.Logger
}

// ServeHTTP runs a command in a container and connects its streams to those of the upgraded connection.
func (h *execHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	namespace, pod, container := r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container")
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		refuse(w, r, http.StatusBadRequest, err.Error())
		return
	}
	command := r.URL.Query()["command"]
	if len(command) == 0 {
		refuse(w, r, http.StatusBadRequest, "command: must be set at least once")
		return
	}
	if err := h.pods.CheckRunning(namespace, pod, container); err != nil {
		refuse(w, r, statusOf(err), err.Error())
		return
	}
	w, r, hangUp := serve.UntilHangUp(w, r)
	defer hangUp()
	run := &execution{h, namespace, pod, *options}
	remotecommand.ServeExec(
		w, r, run, pod, "", container, command, options, idleTimeout, creationTimeout, streamProtocols)
}

// execution is the execution of one command.
type execution struct {
	*execHandler
	namespace, pod string
	requested      remotecommand.Options
}

// ExecInContainer implements remotecommand.Executor.
func (e *execution) ExecInContainer(
	ctx context.Context, _, _, container string, command []string, in io.Reader, out, errs io.WriteCloser, tty bool,
	resize <-chan remotecommand.TerminalSize, _ time.Duration,
) error {
	var streams cci.ExecStreams
	// A stream that was not requested can be set, or can be a typed nil.
	if e.requested.Stdin {
		streams.Stdin = in
	}
	if e.requested.Stdout {
		streams.Stdout = out
	}
	if e.requested.Stderr {
		streams.Stderr = errs
	}
	if tty {
		streams.Resize = sizes(ctx, resize)
	}
	options := cci.ExecOptions{Container: container, Command: command, TTY: tty}
	err := e.pods.Exec(ctx, e.namespace, e.pod, options, streams)
	// The caller does not unwrap errors.
	if exited, ok := errors.AsType[utilexec.CodeExitError](err); ok {
		return exited
	}
	if err != nil {
		e.logger.Info("a command in a container did not complete",
			logging.Pod(e.namespace, e.pod, ""), "container", container, "err", err)
	}
	return err
}

// sizes forwards the sizes of the terminal until the channel is closed or ctx ends.
func sizes(ctx context.Context, from <-chan remotecommand.TerminalSize) <-chan cci.TerminalSize {
	to := make(chan cci.TerminalSize)
	go func() {
		defer close(to)
		for {
			select {
			case size, more := <-from:
				if !more {
					return
				}
				select {
				case to <- cci.TerminalSize{Width: size.Width, Height: size.Height}:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return to
}
