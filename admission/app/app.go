// Package app assembles the admission program and runs it: caches, webhook, controllers, leader election and the health
// endpoints.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/spillway-k8s/spillway/admission/certificate"
	"github.com/spillway-k8s/spillway/admission/config"
	"github.com/spillway-k8s/spillway/admission/controllers/deletioncost"
	"github.com/spillway-k8s/spillway/admission/controllers/explanation"
	"github.com/spillway-k8s/spillway/admission/controllers/inheritance"
	"github.com/spillway-k8s/spillway/admission/controllers/podcache"
	"github.com/spillway-k8s/spillway/admission/controllers/podevents"
	"github.com/spillway-k8s/spillway/admission/controllers/reconciler"
	"github.com/spillway-k8s/spillway/admission/controllers/toleration"
	"github.com/spillway-k8s/spillway/admission/owners"
	"github.com/spillway-k8s/spillway/admission/validation"
	"github.com/spillway-k8s/spillway/admission/webhook"
	"github.com/spillway-k8s/spillway/internal/evaluation"
	"github.com/spillway-k8s/spillway/internal/facts"
	"github.com/spillway-k8s/spillway/internal/leaderelection"
	"github.com/spillway-k8s/spillway/internal/serve"
	"github.com/spillway-k8s/spillway/policy"
)

// LeaseName is the name of the Lease of the controllers. Two processes may lead for a moment, which does no harm: every
// patch names the version of the Pod that it was made for.
const LeaseName = "spillway-admission"

const leaseDuration = 10 * time.Second

// runner blocks in Run until ctx ends.
type runner interface {
	Run(context.Context) error
}

// source is a runner that must be ready before the webhook serves.
type source interface {
	runner
	Ready() bool
}

// App is the assembled program.
type App struct {
	sources     []source
	controllers []runner
	leader      leaderelection.Leader
	webhook     serve.Server
	health      serve.Server
	// serving reports whether every source has become ready, so that the webhook serves.
	serving *atomic.Bool
	logger  *slog.Logger
}

// clients have a rate limit each, so patches of a thousand Pods delay neither a review nor the renewal of the Lease.
type clients struct {
	pods, lease kubernetes.Interface
	metadata    metadata.Interface
}

func newClients(config *rest.Config) (clients, error) {
	pods, errPods := kubernetes.NewForConfig(config)
	lease, errLease := kubernetes.NewForConfig(config)
	metadata, errMetadata := metadata.NewForConfig(config)
	if err := errors.Join(errPods, errLease, errMetadata); err != nil {
		return clients{}, fmt.Errorf("creating the clients: %w", err)
	}
	return clients{pods: pods, lease: lease, metadata: metadata}, nil
}

// New assembles the program and starts nothing. host is the name of the host, which the Lease shows.
func New(cfg *config.Config, host string, logger *slog.Logger) (*App, error) {
	rest, err := cfg.Kube.REST("admission")
	if err != nil {
		return nil, err
	}
	clients, err := newClients(rest)
	if err != nil {
		return nil, err
	}
	return assemble(cfg, clients, host, logger)
}

// assemble builds the webhook and the controllers from the bottom up, over one set of caches and one evaluator.
func assemble(cfg *config.Config, clients clients, host string, logger *slog.Logger) (*App, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	rules, err := policy.New(cfg.Policy)
	if err != nil {
		return nil, err
	}
	triggers := switchTriggers{toleration: reconciler.NewTrigger(), explanation: reconciler.NewTrigger()}
	caches, err := newCaches(cfg, clients, triggers, logger)
	if err != nil {
		return nil, err
	}
	evaluator := evaluation.New(rules, caches.facts, caches.owners, caches.nodes, cfg.LookupTimeout.Duration)
	controllers, err := newControllers(cfg, clients, caches, evaluator, triggers, registry, logger)
	if err != nil {
		return nil, err
	}
	server, err := newWebhook(cfg, rules, caches, evaluator, registry, logger)
	if err != nil {
		return nil, err
	}
	rejections, err := serve.NewRejections(registry)
	if err != nil {
		return nil, err
	}
	server.Rejections = rejections
	sources := []source{caches.facts, caches.owners, caches.pods, caches.nodes}
	if cfg.OwnCertificate() {
		certificate, err := newCertificate(cfg, clients, registry, logger)
		if err != nil {
			return nil, err
		}
		server.GetCertificate = certificate.GetCertificate
		sources = append(sources, certificate)
	}
	leads, err := newLeadership(registry)
	if err != nil {
		return nil, err
	}
	serving := &atomic.Bool{}
	return &App{
		sources: sources, controllers: controllers, webhook: server, serving: serving, logger: logger,
		health: serve.Server{
			Name: "health", Rejections: rejections, Address: cfg.HealthListen,
			Handler: healthHandler(registry, serving),
		},
		leader: leaderelection.Leader{
			Client: clients.lease, Namespace: cfg.LeaderElectionNamespace, Name: LeaseName,
			Identity: host + "_" + string(uuid.NewUUID()), Lease: leaseDuration, Leads: leads, Logger: logger,
		},
	}, nil
}

// switchTriggers fire when the global switch changes.
type switchTriggers struct{ toleration, explanation *reconciler.Trigger }

func (t switchTriggers) fire() {
	t.toleration.Fire()
	t.explanation.Fire()
}

// caches are what the webhook and the controllers read.
type caches struct {
	facts  *facts.Source
	owners *owners.Source
	pods   *podcache.Pods
	nodes  *podcache.VirtualNodes
}

func newCaches(cfg *config.Config, clients clients, triggers switchTriggers, logger *slog.Logger) (caches, error) {
	facts, err := facts.New(clients.pods, triggers.fire, logger)
	if err != nil {
		return caches{}, err
	}
	pods, err := podcache.NewPods(clients.pods)
	if err != nil {
		return caches{}, err
	}
	found, err := owners.New(owners.Config{
		Client: clients.metadata, Pods: pods, Kinds: cfg.Owners(), Timeout: cfg.LookupTimeout.Duration, Now: time.Now,
		Logger: logger,
	})
	if err != nil {
		return caches{}, err
	}
	nodes := podcache.NewVirtualNodes(clients.metadata)
	// It is never stopped: the triggers exist as long as the program.
	if _, err := nodes.OnChange(triggers.fire); err != nil {
		return caches{}, err
	}
	return caches{facts: facts, owners: found, pods: pods, nodes: nodes}, nil
}

func newControllers(
	cfg *config.Config, clients clients, caches caches, evaluator *evaluation.Evaluator, triggers switchTriggers,
	registry prometheus.Registerer, logger *slog.Logger,
) ([]runner, error) {
	failures, err := reconciler.NewFailures(registry)
	if err != nil {
		return nil, err
	}
	events, resync := podevents.NewRecorder(clients.pods, time.Now), cfg.Resync.Duration
	tolerations, err := toleration.New(toleration.Config{
		Client: clients.pods, Pods: caches.pods, Evaluator: evaluator, Owners: caches.owners, Events: events,
		Schedulers: cfg.Schedulers(), Resync: resync, Trigger: triggers.toleration, Failures: failures, Now: time.Now,
		Logger: logger,
	}, registry)
	if err != nil {
		return nil, err
	}
	explanations, err := explanation.New(explanation.Config{
		Client: clients.pods, Pods: caches.pods, Nodes: caches.nodes, Evaluator: evaluator, Owners: caches.owners,
		Schedulers: cfg.Schedulers(), Events: events, Resync: resync, Trigger: triggers.explanation, Failures: failures,
		Now: time.Now, Logger: logger,
	}, registry)
	if err != nil {
		return nil, err
	}
	copies, err := inheritance.New(inheritance.Config{
		Client: clients.pods, Pods: caches.pods, Owners: caches.owners, Resync: resync, Failures: failures,
		Logger: logger,
	}, registry)
	if err != nil {
		return nil, err
	}
	running := []runner{tolerations, explanations, copies}
	if cfg.DeletionCost == 0 {
		return running, nil
	}
	costs, err := deletioncost.New(deletioncost.Config{
		Client: clients.pods, Pods: caches.pods, Nodes: caches.nodes, Cost: cfg.DeletionCost, Resync: resync,
		Failures: failures, Logger: logger,
	}, registry)
	if err != nil {
		return nil, err
	}
	return append(running, costs), nil
}

func newWebhook(
	cfg *config.Config, rules *policy.Policy, caches caches, evaluator *evaluation.Evaluator,
	registry prometheus.Registerer, logger *slog.Logger,
) (serve.Server, error) {
	handler, err := webhook.New(webhook.Config{
		Evaluator: evaluator, Schedulers: cfg.Schedulers(),
		Validator:       validation.New(rules, caches.facts, caches.nodes, caches.owners, cfg.Schedulers()),
		InCloud:         func() int { return len(caches.pods.InCloud(caches.nodes)) },
		Guard:           types.NamespacedName{Namespace: cfg.LeaderElectionNamespace, Name: webhook.GuardName},
		Ignored:         rules.IgnoredSelectors(),
		DaemonSetsBurst: !rules.Has(policy.ReasonDaemonSet),
	}, registry, logger)
	if err != nil {
		return serve.Server{}, err
	}
	return serve.Server{
		Name: "webhook", Address: cfg.Listen, Handler: handler,
		CertFile: cfg.TLSCertFile, KeyFile: cfg.TLSPrivateKeyFile,
	}, nil
}

// newCertificate returns the source of a certificate that the program creates and renews.
func newCertificate(
	cfg *config.Config, clients clients, registerer prometheus.Registerer, logger *slog.Logger,
) (*certificate.Source, error) {
	return certificate.New(clients.pods, certificate.Config{
		Namespace: cfg.LeaderElectionNamespace, Secret: cfg.TLSSecret, Names: cfg.TLSNames, Registration: webhook.Name,
	}, time.Now, registerer, logger)
}

// newLeadership registers the gauge of the leadership and returns what sets it (leaderelection.Leader.Leads).
func newLeadership(registerer prometheus.Registerer) (leads func(bool), err error) {
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "spillway_admission_leader", Help: "1 while this process runs the controllers.",
	})
	if err := registerer.Register(gauge); err != nil {
		return nil, fmt.Errorf("registering the metric of the leadership: %w", err)
	}
	return func(leads bool) {
		if leads {
			gauge.Set(1)
			return
		}
		gauge.Set(0)
	}, nil
}

// Run runs the program until ctx ends or a part fails. It blocks.
func (a *App) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range a.sources {
		group.Go(func() error { return s.Run(ctx) })
	}
	group.Go(func() error { return a.health.Run(ctx) })
	group.Go(func() error {
		if !a.awaitSources(ctx) {
			return nil
		}
		a.logger.Info("every cache is filled: serving")
		a.serving.Store(true)
		// The webhook must not listen earlier: a review that does not know the global switch is worse than none.
		group.Go(func() error { return a.webhook.Run(ctx) })
		return a.leader.Run(ctx, a.lead)
	})
	return group.Wait()
}

// awaitSources returns false if ctx ends before every source is ready.
func (a *App) awaitSources(ctx context.Context) bool {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !a.ready() {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
	return true
}

func (a *App) ready() bool {
	for _, s := range a.sources {
		if !s.Ready() {
			return false
		}
	}
	return true
}

// lead runs the controllers until ctx ends.
func (a *App) lead(ctx context.Context, _ *leaderelection.Term) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range a.controllers {
		group.Go(func() error { return c.Run(ctx) })
	}
	return group.Wait()
}
