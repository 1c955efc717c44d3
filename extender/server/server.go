// Package server is the HTTP face of the extender: it decodes what the scheduler sends, asks package placement and encodes the
// answer. It knows no port and no signal, and decides nothing.
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
)

// Placement is what the server asks (package placement implements it).
type Placement interface {
	// Ready is nil where questions can be answered; otherwise it says why not.
	Ready() error
	Filter(ctx context.Context, pod *corev1.Pod, names []string) (placement.Verdict, error)
	Prioritize(ctx context.Context, pod *corev1.Pod, names []string) (extenderv1.HostPriorityList, error)
	Preempt(ctx context.Context, pod *corev1.Pod, victims placement.Victims) (placement.Victims, error)
}

type server struct {
	placement Placement
	metrics   *metrics
	logger    *slog.Logger
}

// Handlers are the two faces of the extender.
type Handlers struct {
	// Verbs are POST /v1/filter, /v1/prioritize and /v1/preempt, for the scheduler.
	Verbs http.Handler
	// Health is GET /healthz, /readyz and /metrics, for everybody.
	Health http.Handler
}

// New makes the handlers. Verbs answers only clients with a certificate of one of the names; without names it does not look at
// certificates. The metrics are registered with registry.
func New(p Placement, clients []string, registry *prometheus.Registry, logger *slog.Logger) (Handlers, error) {
	m, err := newMetrics(registry)
	if err != nil {
		return Handlers{}, err
	}
	s := &server{p, m, logger}
	verbs := s.engine()
	answer := func(verb string, handler gin.HandlerFunc) {
		verbs.POST("/v1/"+verb, s.measure(verb), s.allow(clients), handler)
	}
	answer("filter", s.filter)
	answer("prioritize", s.prioritize)
	answer("preempt", s.preempt)
	health := s.engine()
	health.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	health.GET("/readyz", s.readyz)
	health.GET("/metrics", gin.WrapH(promhttp.HandlerFor(registry, promhttp.HandlerOpts{})))
	return Handlers{Verbs: verbs, Health: health}, nil
}

// Together serves both on one port.
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
		c.String(http.StatusNotFound, "no such path %s: the verbs are /v1/filter, /v1/prioritize and /v1/preempt\n", c.Request.URL.Path)
	})
	engine.NoMethod(func(c *gin.Context) {
		c.String(http.StatusMethodNotAllowed, "%s does not take %s\n", c.Request.URL.Path, c.Request.Method)
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

// filter answers with the nodes that are left. Refused nodes are left out; where none is left, one of them carries the reason, as
// "unresolvable": named among FailedNodes it would be tried for preemption, again and again (facts/scheduler.md 1.4, 1.5).
func (s *server) filter(c *gin.Context) {
	args, names, ok := s.decodeArgs(c)
	if !ok {
		return
	}
	result := extenderv1.ExtenderFilterResult{NodeNames: &[]string{}}
	verdict, err := s.ask(c, args.Pod, names)
	var unknown *nodes.UnknownNodeError
	switch {
	case errors.As(err, &unknown):
		s.refuse(c, fmt.Errorf("field NodeNames: %w", err))
		return
	case err != nil:
		s.logger.WarnContext(c, "filter cannot be answered", "pod", args.Pod.Namespace+"/"+args.Pod.Name, "err", err)
		s.metrics.outcome(c, "error")
		s.sendAway(c)
		result.Error = "Spillway: " + err.Error()
	case verdict.Refusal != "":
		s.metrics.outcome(c, "refused")
		result.FailedAndUnresolvableNodes = extenderv1.FailedNodesMap{names[0]: verdict.Refusal}
	default:
		result.NodeNames = &verdict.Names
	}
	s.metrics.decided(verdict.Reason)
	write(c, result)
}

func (s *server) ask(c *gin.Context, pod *corev1.Pod, names []string) (placement.Verdict, error) {
	if err := s.placement.Ready(); err != nil {
		return placement.Verdict{}, err
	}
	return s.placement.Filter(c.Request.Context(), pod, names)
}

// sendAway ends the connection where this extender cannot answer: a Kubernetes Service leads new connections to one that is ready, and
// leaves old ones where they are.
func (s *server) sendAway(c *gin.Context) {
	if s.placement.Ready() != nil {
		c.Header("Connection", "close")
	}
}

func (s *server) prioritize(c *gin.Context) {
	args, names, ok := s.decodeArgs(c)
	if !ok {
		return
	}
	scores, err := s.placement.Prioritize(c.Request.Context(), args.Pod, names)
	if err != nil {
		s.refuse(c, fmt.Errorf("field NodeNames: %w", err))
		return
	}
	write(c, scores)
}

func (s *server) preempt(c *gin.Context) {
	var args extenderv1.ExtenderPreemptionArgs
	if !s.decode(c, &args) {
		return
	}
	if err := checkPreemption(&args); err != nil {
		s.refuse(c, err)
		return
	}
	kept, err := s.askVictims(c, &args)
	var unknown *nodes.UnknownNodeError
	switch {
	case errors.As(err, &unknown):
		s.refuse(c, fmt.Errorf("field NodeNameToMetaVictims: %w", err))
	case err != nil:
		// The answer has no field for an error: a status stops this attempt, and nobody is evicted.
		s.logger.WarnContext(c, "preempt cannot be answered", "pod", args.Pod.Namespace+"/"+args.Pod.Name, "err", err)
		s.metrics.outcome(c, "error")
		s.sendAway(c)
		c.String(http.StatusServiceUnavailable, "Spillway: %s\n", err)
	default:
		write(c, extenderv1.ExtenderPreemptionResult{NodeNameToMetaVictims: kept})
	}
}

func (s *server) askVictims(c *gin.Context, args *extenderv1.ExtenderPreemptionArgs) (placement.Victims, error) {
	if err := s.placement.Ready(); err != nil {
		return nil, err
	}
	return s.placement.Preempt(c.Request.Context(), args.Pod, args.NodeNameToMetaVictims)
}

// recover turns a panic into an answer: one Pod's trouble must not stop the scheduling of all.
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
		c.Set(verbKey, verb)
		c.Next()
		s.metrics.answered(c, verb, time.Since(start))
	}
}
