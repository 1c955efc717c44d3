package kubelet

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"

	"github.com/virtual-kubelet/virtual-kubelet/errdefs"
	"github.com/virtual-kubelet/virtual-kubelet/node/nodeutil"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

// LogsFunc streams a container's log; see provider.Provider.Logs.
type LogsFunc func(ctx context.Context, namespace, pod string, options cci.LogOptions) (io.ReadCloser, error)

// New makes the handler of the kubelet port. It starts nothing.
func New(auth nodeutil.Auth, logs LogsFunc, logger *slog.Logger) (http.Handler, error) {
	if auth == nil || logs == nil || logger == nil {
		return nil, errors.New("making the kubelet's handler: auth, logs and logger must be given")
	}
	mux := http.NewServeMux()
	mux.Handle("GET /containerLogs/{namespace}/{pod}/{container}", &logHandler{logs, logger})
	for path, words := range map[string]string{
		"/exec/":        "this virtual node cannot run commands in containers",
		"/run/":         "this virtual node cannot run commands in containers",
		"/attach/":      "the cloud cannot attach to containers: use logs",
		"/portForward/": "this virtual node cannot forward ports: the Pod's own address is reachable from its VPC",
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, words, http.StatusNotImplemented) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "this virtual node serves /containerLogs/{namespace}/{pod}/{container} only", http.StatusNotFound)
	})
	return nodeutil.WithAuth(auth, mux), nil
}

type logHandler struct {
	logs   LogsFunc
	logger *slog.Logger
}

// ServeHTTP streams a log. What goes wrong after the first byte can only end the stream.
func (h *logHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	options, err := parseLogOptions(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	options.Container = r.PathValue("container")
	stream, err := h.logs(r.Context(), r.PathValue("namespace"), r.PathValue("pod"), options)
	if err != nil {
		http.Error(w, err.Error(), statusOf(err))
		return
	}
	defer stream.Close()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	if err := copyFlushing(w, stream); err != nil && r.Context().Err() == nil {
		h.logger.Warn("a log stream broke", "path", r.URL.Path, "err", err)
	}
}

// copyFlushing sends each piece at once: whoever follows a log waits for it.
func copyFlushing(w http.ResponseWriter, stream io.Reader) error {
	control := http.NewResponseController(w)
	buffer := make([]byte, 32<<10)
	for {
		if err := control.Flush(); err != nil {
			return err
		}
		n, err := stream.Read(buffer)
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// statusOf is the answer to an error: the caller's fault, the cloud's, or ours.
func statusOf(err error) int {
	if errdefs.IsNotFound(err) {
		return http.StatusNotFound
	}
	switch cci.KindOf(err) {
	case cci.Permanent: // The container has not started yet, or a parameter is wrong.
		return http.StatusBadRequest
	case cci.Throttled:
		return http.StatusTooManyRequests
	case cci.Passing, cci.Denied:
		return http.StatusBadGateway
	}
	return http.StatusInternalServerError
}
