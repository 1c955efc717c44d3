package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/admission/certificate"
	"github.com/spillway-k8s/spillway/admission/controllers"
	"github.com/spillway-k8s/spillway/admission/validation"
	"github.com/spillway-k8s/spillway/admission/verdict"
	"github.com/spillway-k8s/spillway/admission/webhook"
	"github.com/spillway-k8s/spillway/admission/workload"
	"github.com/spillway-k8s/spillway/internal/facts"
	"github.com/spillway-k8s/spillway/internal/leaderelection"
	"github.com/spillway-k8s/spillway/internal/serve"
	"github.com/spillway-k8s/spillway/policy"
)

// leaseName is the Lease of the controllers. Nothing breaks where two lead for a moment: every patch names the version of the Pod that it was
// made for.
const (
	leaseName     = "spillway-admission"
	leaseDuration = 10 * time.Second
)

// cached is a watch that fills a cache.
type cached interface {
	Run(context.Context) error
	Ready() bool
}

// admission is the program, put together and not started.
type admission struct {
	caches   []cached
	tolerate *controllers.Tolerate
	rank     *controllers.Rank
	leader   leaderelection.Leader
	webhook  serve.Server
	health   serve.Server
	// serving: every cache has been filled, and the webhook is about to listen.
	serving atomic.Bool
	logger  *slog.Logger
}

// clients have a rate limit each: patches of a thousand Pods must not keep a review or the Lease waiting.
type clients struct {
	pods, lease kubernetes.Interface
	owners      metadata.Interface
}

func newClients(config *rest.Config) (clients, error) {
	pods, errPods := kubernetes.NewForConfig(config)
	lease, errLease := kubernetes.NewForConfig(config)
	owners, errOwners := metadata.NewForConfig(config)
	if err := errors.Join(errPods, errLease, errOwners); err != nil {
		return clients{}, fmt.Errorf("making the clients: %w", err)
	}
	return clients{pods: pods, lease: lease, owners: owners}, nil
}

// newAdmission puts the program together. host is where it runs: it shows in the Lease.
func newAdmission(cfg *Config, host string, logger *slog.Logger) (*admission, error) {
	config, err := cfg.Kube.REST("admission")
	if err != nil {
		return nil, err
	}
	clients, err := newClients(config)
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics, err := controllers.NewMetrics(registry)
	if err != nil {
		return nil, err
	}
	a := &admission{logger: logger}
	a.leader = leaderelection.Leader{
		Client: clients.lease, Namespace: cfg.LeaderElectionNamespace, Name: leaseName,
		Identity: host + "_" + string(uuid.NewUUID()), Lease: leaseDuration, Leads: metrics.Leads, Logger: logger,
	}
	a.health = serve.Server{Address: cfg.HealthListen, Handler: a.healthHandler(registry)}
	return a, a.addParts(cfg, clients, registry, metrics)
}

// addParts puts the webhook and the controllers over one set of caches and one judge.
func (a *admission) addParts(cfg *Config, clients clients, registry *prometheus.Registry, metrics controllers.Metrics) error {
	rules, err := policy.New(cfg.Policy)
	if err != nil {
		return err
	}
	known, err := facts.New(clients.pods, func() { a.tolerate.LookAgain() }, a.logger)
	if err != nil {
		return err
	}
	pods, err := controllers.NewPods(clients.pods)
	if err != nil {
		return err
	}
	owners, nodes := workload.New(clients.owners, cfg.LookupTimeout.Duration), controllers.NewVirtualNodes(clients.owners)
	a.caches = []cached{known, owners, pods, nodes}
	judge := verdict.New(rules, known, owners, cfg.LookupTimeout.Duration)
	a.tolerate = controllers.NewTolerate(clients.pods, pods, nodes, judge, owners, cfg.Resync.Duration, time.Now, metrics, a.logger)
	a.rank = controllers.NewRank(clients.pods, pods, nodes, cfg.Resync.Duration, metrics, a.logger)
	handler, err := webhook.New(webhook.Parts{
		Judge: judge, Validator: validation.New(rules, known), DaemonSetsBurst: !rules.Has(policy.ReasonDaemonSet),
		SchedulerName: cfg.SchedulerName, InCloud: func() []cache.ObjectName { return pods.InCloud(nodes) },
	}, registry, a.logger)
	if err != nil {
		return err
	}
	a.webhook = serve.Server{Address: cfg.Listen, Handler: handler, CertFile: cfg.TLSCertFile, KeyFile: cfg.TLSPrivateKeyFile}
	if cfg.ownCertificate() {
		return a.addCertificate(cfg, clients)
	}
	return nil
}

// addCertificate has the program make its own certificate.
func (a *admission) addCertificate(cfg *Config, clients clients) error {
	source, err := certificate.New(clients.pods, certificate.Config{
		Namespace: cfg.LeaderElectionNamespace, Secret: cfg.TLSSecret, Names: cfg.TLSNames, Registration: webhook.Name,
	}, time.Now, a.logger)
	if err != nil {
		return err
	}
	a.caches = append(a.caches, source)
	a.webhook.GetCertificate = source.GetCertificate
	return nil
}

// run serves and works until ctx ends or a part fails. It blocks.
func (a *admission) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range a.caches {
		group.Go(func() error { return c.Run(ctx) })
	}
	group.Go(func() error { return a.health.Run(ctx) })
	group.Go(func() error {
		if !a.awaitCaches(ctx) {
			return nil
		}
		a.logger.Info("every cache is filled: serving")
		a.serving.Store(true)
		// Only now: a review that does not know the global switch would be worse than none.
		group.Go(func() error { return a.webhook.Run(ctx) })
		return a.leader.Run(ctx, a.lead)
	})
	return group.Wait()
}

// awaitCaches is false where ctx ends first.
func (a *admission) awaitCaches(ctx context.Context) bool {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !a.filled() {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
	return true
}

func (a *admission) filled() bool {
	for _, c := range a.caches {
		if !c.Ready() {
			return false
		}
	}
	return true
}

// lead runs the controllers.
func (a *admission) lead(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.tolerate.Run(ctx) })
	group.Go(func() error { return a.rank.Run(ctx) })
	return group.Wait()
}

func (a *admission) healthHandler(registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !a.serving.Load() {
			http.Error(w, "not every cache is filled yet", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}
