package kubelet

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"

	"github.com/virtual-kubelet/virtual-kubelet/errdefs"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

// Pods are the Pods of the node, as far as their callers reach them. Errors are errdefs' NotFound, errdefs' InvalidInput, or the cloud's.
type Pods interface {
	// Logs streams the log of options.Container until it ends or ctx does. The caller closes it.
	Logs(ctx context.Context, namespace, pod string, options cci.LogOptions) (io.ReadCloser, error)
	// CheckRunning says why no command can run in a container, nil if one can.
	CheckRunning(namespace, pod, container string) error
	// Exec runs a command as cci.API's PodExec does.
	Exec(ctx context.Context, namespace, pod string, options cci.ExecOptions, streams cci.ExecStreams) error
}

// Words for what there is nothing behind.
const (
	wordsAttach = "the cloud cannot attach to a container: see what it prints with kubectl logs -f, and run commands beside it with kubectl exec"
	wordsRun    = "commands run by /exec only"
)

// New makes the handler of the kubelet port. It starts nothing.
func New(auth *Auth, pods Pods, logger *slog.Logger) (http.Handler, error) {
	if auth == nil || pods == nil || logger == nil {
		return nil, errors.New("making the kubelet's handler: auth, pods and logger must be given")
	}
	mux := http.NewServeMux()
	mux.Handle("GET /containerLogs/{namespace}/{pod}/{container}", &logHandler{pods, logger})
	commands := &execHandler{pods, logger}
	for _, path := range []string{"/exec/{namespace}/{pod}/{container}", "/exec/{namespace}/{pod}/{uid}/{container}"} {
		// WebSockets begin with a GET.
		mux.Handle("GET "+path, commands)
		mux.Handle("POST "+path, commands)
	}
	for path, words := range map[string]string{
		"/run/":         wordsRun,
		"/attach/":      wordsAttach,
		"/portForward/": "this virtual node cannot forward ports: the Pod's own address is reachable from its VPC",
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, words, http.StatusNotImplemented) })
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "this virtual node has nothing under this path", http.StatusNotFound)
	})
	return withAuth(auth, mux, logger), nil
}

// statusOf is the answer to an error: the caller's fault, the cloud's, or ours.
func statusOf(err error) int {
	if errdefs.IsNotFound(err) {
		return http.StatusNotFound
	}
	if errdefs.IsInvalidInput(err) {
		return http.StatusBadRequest
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
