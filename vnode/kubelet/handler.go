package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/virtual-kubelet/virtual-kubelet/errdefs"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

// Pods gives access to the Pods of the node. Errors are NotFound or InvalidInput of virtual-kubelet's errdefs, or
// errors of package cci.
type Pods interface {
	// Logs streams the log of options.Container until it ends or ctx does. The caller closes it.
	Logs(ctx context.Context, namespace, pod string, options cci.LogOptions) (io.ReadCloser, error)
	// CheckRunning returns nil if a command can run in a container, and otherwise an error with the reason. It does not
	// block.
	CheckRunning(namespace, pod, container string) error
	// Exec runs a command. It behaves like PodExec of cci.API.
	Exec(ctx context.Context, namespace, pod string, options cci.ExecOptions, streams cci.ExecStreams) error
	// Address returns the IP address of the cloud Pod. It does not block.
	Address(namespace, pod string) (string, error)
	// List returns the Pods of the node, which must not be changed. It does not block.
	List() []*corev1.Pod
}

// Usage serves the usage of the Pods.
type Usage interface {
	// ServeResource serves /metrics/resource.
	ServeResource(w http.ResponseWriter, r *http.Request)
	// ServeCAdvisor serves /metrics/cadvisor.
	ServeCAdvisor(w http.ResponseWriter, r *http.Request)
	// ServeSummary serves /stats/summary.
	ServeSummary(w http.ResponseWriter, r *http.Request)
}

// Config configures the kubelet port. All fields but PortForward are required.
type Config struct {
	// Auth admits callers.
	Auth *Auth
	// Pods are the Pods of the node.
	Pods Pods
	// PortForward enables port forwarding. It requires that the virtual node can reach the subnets of the cloud.
	PortForward bool
	// Usage serves the usage of the Pods.
	Usage Usage
	// Logger logs failures of streams and of the admission of callers.
	Logger *slog.Logger
}

// Messages for paths that are not supported.
const (
	messageAttach = "the cloud cannot attach to a container: use kubectl logs -f for its output, and kubectl exec to " +
		"run commands in it"
	messageRun         = "/run is not supported: commands run through /exec only"
	messagePortForward = "this virtual node does not forward ports (portForward is false in its configuration): the " +
		"address of the Pod is reachable from its VPC"
)

// New returns the handler of the kubelet port. It starts nothing.
func New(config Config) (http.Handler, error) {
	if config.Auth == nil || config.Pods == nil || config.Usage == nil || config.Logger == nil {
		return nil, errors.New("creating the handler of the kubelet port: auth, pods, usage and logger must be set")
	}
	mux := http.NewServeMux()
	streams := newStreams()
	mux.Handle("GET /containerLogs/{namespace}/{pod}/{container}",
		streams.limit(&logHandler{config.Pods, config.Logger}))
	commands := streams.limit(&execHandler{config.Pods, config.Logger})
	for _, path := range []string{"/exec/{namespace}/{pod}/{container}", "/exec/{namespace}/{pod}/{uid}/{container}"} {
		// A WebSocket connection begins with a GET.
		mux.Handle("GET "+path, commands)
		mux.Handle("POST "+path, commands)
	}
	unsupported := map[string]string{"/run/": messageRun, "/attach/": messageAttach}
	if config.PortForward {
		forward := streams.limit(&portForwardHandler{config.Pods})
		for _, path := range []string{"/portForward/{namespace}/{pod}", "/portForward/{namespace}/{pod}/{uid}"} {
			mux.Handle("GET "+path, forward)
			mux.Handle("POST "+path, forward)
		}
	} else {
		unsupported["/portForward/"] = messagePortForward
	}
	for path, message := range unsupported {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			refuse(w, r, http.StatusNotImplemented, message)
		})
	}
	metrics, err := serveMetrics(nodeMetrics{config.Auth.nodeName, config.Pods})
	if err != nil {
		return nil, fmt.Errorf("creating the handler of the kubelet port: %w", err)
	}
	none, err := serveMetrics()
	if err != nil {
		return nil, fmt.Errorf("creating the handler of the kubelet port: %w", err)
	}
	mux.Handle("GET /metrics", metrics)
	// The probes run in the cloud, which does not report them, and there are no health checks of components.
	mux.Handle("GET /metrics/probes", none)
	mux.Handle("GET /metrics/slis", none)
	mux.HandleFunc("GET /metrics/cadvisor", config.Usage.ServeCAdvisor)
	mux.HandleFunc("GET /metrics/resource", config.Usage.ServeResource)
	mux.HandleFunc("GET /stats/summary", config.Usage.ServeSummary)
	lists := newPodLists(config.Pods, config.Logger)
	mux.HandleFunc("GET /pods", lists.all)
	mux.HandleFunc("GET /pods/{$}", lists.all)
	mux.HandleFunc("GET /runningpods/{$}", lists.running)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, r, http.StatusNotFound, "this virtual node does not serve this path")
	})
	return withAuth(config.Auth, mux, config.Logger), nil
}

// statusOf returns the HTTP status for an error: of the caller, of the cloud, or of this program.
func statusOf(err error) int {
	if errdefs.IsNotFound(err) {
		return http.StatusNotFound
	}
	if errdefs.IsInvalidInput(err) {
		return http.StatusBadRequest
	}
	switch cci.KindOf(err) {
	case cci.Permanent: // The container has not started yet, or a parameter is invalid.
		return http.StatusBadRequest
	case cci.Throttled:
		return http.StatusTooManyRequests
	case cci.Transient, cci.Denied:
		return http.StatusBadGateway
	case cci.NotOffered:
		return http.StatusNotImplemented
	}
	return http.StatusInternalServerError
}
