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
	// Address is the Pod's own, in the cloud.
	Address(namespace, pod string) (string, error)
}

// Usage tells what the Pods use.
type Usage interface {
	// ServeResource answers /metrics/resource.
	ServeResource(w http.ResponseWriter, r *http.Request)
	// ServeSummary answers /stats/summary.
	ServeSummary(w http.ResponseWriter, r *http.Request)
}

// Config says what the port offers.
type Config struct {
	// Auth decides who may ask.
	Auth *Auth
	// Pods are the Pods of the node.
	Pods Pods
	// PortForward forwards ports; off where the cloud's subnets cannot be reached, or must not be by this way.
	PortForward bool
	// Usage answers /metrics/resource and /stats/summary.
	Usage Usage
	// Logger gets what breaks.
	Logger *slog.Logger
}

// Words for what there is nothing behind.
const (
	wordsAttach = "the cloud cannot attach to a container: see what it prints with kubectl logs -f, and run commands beside it with kubectl exec"
	wordsRun    = "commands run by /exec only"
	wordsPorts  = "this virtual node does not forward ports (portForward is off in its configuration): the Pod's own address is reachable from its VPC"
)

// New makes the handler of the kubelet port. It starts nothing.
func New(config Config) (http.Handler, error) {
	if config.Auth == nil || config.Pods == nil || config.Usage == nil || config.Logger == nil {
		return nil, errors.New("making the kubelet's handler: auth, pods, usage and logger must be given")
	}
	mux := http.NewServeMux()
	mux.Handle("GET /containerLogs/{namespace}/{pod}/{container}", &logHandler{config.Pods, config.Logger})
	commands := &execHandler{config.Pods, config.Logger}
	for _, path := range []string{"/exec/{namespace}/{pod}/{container}", "/exec/{namespace}/{pod}/{uid}/{container}"} {
		// WebSockets begin with a GET.
		mux.Handle("GET "+path, commands)
		mux.Handle("POST "+path, commands)
	}
	refused := map[string]string{"/run/": wordsRun, "/attach/": wordsAttach}
	if config.PortForward {
		for _, path := range []string{"/portForward/{namespace}/{pod}", "/portForward/{namespace}/{pod}/{uid}"} {
			mux.Handle("GET "+path, &portForwardHandler{config.Pods})
			mux.Handle("POST "+path, &portForwardHandler{config.Pods})
		}
	} else {
		refused["/portForward/"] = wordsPorts
	}
	for path, words := range refused {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, words, http.StatusNotImplemented) })
	}
	mux.HandleFunc("GET /metrics/resource", config.Usage.ServeResource)
	mux.HandleFunc("GET /stats/summary", config.Usage.ServeSummary)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "this virtual node has nothing under this path", http.StatusNotFound)
	})
	return withAuth(config.Auth, mux, config.Logger), nil
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
	case cci.Transient, cci.Denied:
		return http.StatusBadGateway
	}
	return http.StatusInternalServerError
}
