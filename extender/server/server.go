// Package server is the HTTP server of the extender. It decodes the requests of the scheduler, calls package placement
// and encodes the responses. It does not know ports or signals, and decides nothing.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"github.com/spillway-k8s/spillway/extender/nodes"
	"github.com/spillway-k8s/spillway/extender/placement"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/serve"
	"github.com/spillway-k8s/spillway/internal/tracing"
)

// Placement is what the server calls. Package placement implements it.
type Placement interface {
	// Ready returns nil if requests can be answered, and otherwise an error that says why they cannot. Filter and
	// Preempt return that error too, except for Pods that Spillway does not manage.
	Ready() error
	Filter(ctx context.Context, pod *corev1.Pod, names []string) (placement.FilterResult, error)
	// DryRun and Explain change nothing and wait for nothing.
	DryRun(pod *corev1.Pod, offer placement.Offer) (placement.FilterResult, error)
	Explain(pod *corev1.Pod, offer placement.Offer) (placement.Answer, error)
	Prioritize(ctx context.Context, pod *corev1.Pod, names []string) (extenderv1.HostPriorityList, error)
	Preempt(ctx context.Context, pod *corev1.Pod, victims placement.Victims) (placement.Victims, error)
}

type server struct {
	placement Placement
	memory    *serve.Memory
	metrics   *metrics
	logger    *slog.Logger
}

// Handlers are the two HTTP handlers of the extender.
type Handlers struct {
	// Verbs serves POST /v1/filter, /v1/prioritize and /v1/preempt for the scheduler, and /v1/explain.
	Verbs http.Handler
	// Health serves GET /healthz, /readyz and /metrics for all clients.
	Health http.Handler
}

// New returns the handlers. Verbs only serves clients that have a certificate with one of the names. If there are no
// names, it does not check certificates. The metrics are registered with registry.
func New(p Placement, clients []string, registry *prometheus.Registry, logger *slog.Logger) (Handlers, error) {
	m, err := newMetrics(registry)
	if err != nil {
		return Handlers{}, err
	}
	s := &server{p, serve.NewMemory(maxMemory), m, logger}
	verbs := s.engine()
	handle := func(verb string, handler gin.HandlerFunc) {
		verbs.POST("/v1/"+verb, s.measure(verb), s.authorize(clients), s.checkQuery, handler)
	}
	handle(verbFilter, s.filter)
	handle(verbPrioritize, s.prioritize)
	handle(verbPreempt, s.preempt)
	handle(verbExplain, s.explain)
	health := s.engine()
	health.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	health.GET("/readyz", s.readyz)
	health.GET("/metrics", gin.WrapH(promhttp.HandlerFor(registry, promhttp.HandlerOpts{})))
	return Handlers{Verbs: verbs, Health: health}, nil
}

// Together returns one handler that serves both.
func (h Handlers) Together() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v1/", h.Verbs)
	mux.Handle("/", h.Health)
	return mux
}

func (s *server) engine() *gin.Engine {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.HandleMethodNotAllowed = true
	engine.Use(s.recover)
	engine.NoRoute(func(c *gin.Context) {
		c.String(http.StatusNotFound, "no such path %s: the verbs are /v1/filter, /v1/prioritize, /v1/preempt and "+
			"/v1/explain\n", c.Request.URL.Path)
	})
	engine.NoMethod(func(c *gin.Context) {
		c.String(
			http.StatusMethodNotAllowed,
			"%s does not support the method %s\n",
			c.Request.URL.Path,
			c.Request.Method,
		)
	})
	return engine
}

func (s *server) readyz(c *gin.Context) {
	if err := s.placement.Ready(); err != nil {
		c.String(http.StatusServiceUnavailable, "not ready: %s\n", err)
		return
	}
	c.String(http.StatusOK, "ok\n")
}

// filter responds with the nodes that are left. It leaves out refused nodes. If no node is left, one node carries the
// reason as "unresolvable": for a node in FailedNodes the scheduler would try preemption again and again
// (docs/sources.md#scheduler-hot-loop, docs/sources.md#scheduler-preemption).
func (s *server) filter(c *gin.Context) {
	if isDryRun(c) {
		s.dryRun(c)
		return
	}
	reservation := s.memory.For(c.Request)
	defer reservation.Release()
	args, names, ok := s.decodeArgs(c, reservation)
	if !ok {
		return
	}
	ctx, span := tracing.Follow(c.Request.Context(), "extender: filter", args.Pod)
	result, err := s.placement.Filter(ctx, args.Pod, names)
	tracing.End(span, err, "reason", string(result.Reason))
	if response := s.filtered(c, args.Pod, names, result, err); response != nil {
		s.metrics.decided(result.Reason)
		write(c, response)
	}
}

// filtered returns the response to filter, or nil if it has rejected the request.
func (s *server) filtered(
	c *gin.Context, pod *corev1.Pod, names []string, result placement.FilterResult, err error,
) *extenderv1.ExtenderFilterResult {
	response := &extenderv1.ExtenderFilterResult{NodeNames: &[]string{}}
	switch {
	case s.rejectNodes(c, err):
		return nil
	case err != nil:
		s.logger.WarnContext(c, "filter failed", logging.Pod(pod.Namespace, pod.Name, pod.UID),
			"dryRun", isDryRun(c), "err", err)
		s.metrics.outcome(c, outcomeError)
		s.closeConnection(c)
		response.Error = "Spillway: " + err.Error()
	case result.Refusal != "":
		s.metrics.outcome(c, outcomeRefused)
		response.FailedAndUnresolvableNodes = extenderv1.FailedNodesMap{names[0]: result.Refusal}
	default:
		response.NodeNames = &result.Names
	}
	return response
}

// rejectNodes rejects a request if the error says that its nodes are wrong.
func (s *server) rejectNodes(c *gin.Context, err error) bool {
	var unknown *nodes.UnknownNodeError
	var imagined *placement.ImaginedError
	switch {
	case errors.As(err, &unknown):
		s.reject(c, fmt.Errorf("field NodeNames: %w", err))
	case errors.As(err, &imagined):
		s.reject(c, fmt.Errorf("field Nodes: %w", err))
	default:
		return false
	}
	return true
}

// fail responds with a status code to a request for which there is no answer now, and whose response has no field for
// an error.
func (s *server) fail(c *gin.Context, verb string, pod *corev1.Pod, err error) {
	s.logger.WarnContext(c, "a request has no answer", "verb", verb,
		logging.Pod(pod.Namespace, pod.Name, pod.UID), "err", err)
	s.metrics.outcome(c, outcomeError)
	s.closeConnection(c)
	c.String(http.StatusServiceUnavailable, "Spillway: %s\n", err)
}

// closeConnection closes the connection if this extender is not ready: a Kubernetes Service routes new connections to
// an extender that is ready, but does not move existing ones.
func (s *server) closeConnection(c *gin.Context) {
	if s.placement.Ready() != nil {
		c.Header("Connection", "close")
	}
}

func (s *server) prioritize(c *gin.Context) {
	reservation := s.memory.For(c.Request)
	defer reservation.Release()
	args, names, ok := s.decodeArgs(c, reservation)
	if !ok {
		return
	}
	scores, err := s.placement.Prioritize(c.Request.Context(), args.Pod, names)
	if err != nil {
		s.reject(c, fmt.Errorf("field NodeNames: %w", err))
		return
	}
	if body, ok := encodeScores(scores); ok {
		respond(c, body)
		return
	}
	write(c, scores)
}

func (s *server) preempt(c *gin.Context) {
	reservation := s.memory.For(c.Request)
	defer reservation.Release()
	var args extenderv1.ExtenderPreemptionArgs
	if !s.decode(c, reservation, &args) {
		return
	}
	if err := checkPreemption(&args); err != nil {
		s.reject(c, err)
		return
	}
	kept, err := s.placement.Preempt(c.Request.Context(), args.Pod, args.NodeNameToMetaVictims)
	var unknown *nodes.UnknownNodeError
	switch {
	case errors.As(err, &unknown):
		s.reject(c, fmt.Errorf("field NodeNameToMetaVictims: %w", err))
	case err != nil:
		s.fail(c, verbPreempt, args.Pod, err) // The status code ends this attempt, and no Pod is evicted.
	default:
		write(c, extenderv1.ExtenderPreemptionResult{NodeNameToMetaVictims: kept})
	}
}

// recover turns a panic into a response: a defect that one Pod triggers must not stop the scheduling of all Pods.
func (s *server) recover(c *gin.Context) {
	defer func() {
		if cause := recover(); cause != nil {
			s.logger.ErrorContext(c, "a handler panicked", "path", c.Request.URL.Path, "cause", cause)
			c.String(http.StatusInternalServerError, "Spillway: internal error\n")
			c.Abort()
		}
	}()
	c.Next()
}

func (s *server) measure(verb string) gin.HandlerFunc {
	return func(c *gin.Context) {
		start := time.Now()
		c.Next()
		counted := verb
		if isDryRun(c) {
			counted = verbDryRun
		}
		s.metrics.answered(c, counted, time.Since(start))
	}
}
