// Package app assembles the extender from its parts and runs them.
package app

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"

	"github.com/spillway-k8s/spillway/extender/config"
	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/extender/nodes"
	"github.com/spillway-k8s/spillway/extender/placement"
	"github.com/spillway-k8s/spillway/extender/requeue"
	"github.com/spillway-k8s/spillway/extender/server"
	"github.com/spillway-k8s/spillway/extender/wayhome"
	"github.com/spillway-k8s/spillway/internal/facts"
	"github.com/spillway-k8s/spillway/internal/serve"
	"github.com/spillway-k8s/spillway/policy"
)

// Clients are the connections to the API server.
type Clients struct {
	Kubernetes kubernetes.Interface
	Metadata   metadata.Interface
	// Leases is used for the Lease only. A burst of other requests must not use up its rate limit and delay the
	// renewal.
	Leases kubernetes.Interface
}

// NewClients returns Clients for a cluster. It does not connect.
func NewClients(cluster *rest.Config) (Clients, error) {
	var c Clients
	var err error
	if c.Kubernetes, err = kubernetes.NewForConfig(cluster); err != nil {
		return Clients{}, fmt.Errorf("creating the client: %w", err)
	}
	if c.Metadata, err = metadata.NewForConfig(cluster); err != nil {
		return Clients{}, fmt.Errorf("creating the metadata client: %w", err)
	}
	if c.Leases, err = kubernetes.NewForConfig(cluster); err != nil {
		return Clients{}, fmt.Errorf("creating the client of the lease: %w", err)
	}
	return c, nil
}

// Extender is the program, assembled and not started.
type Extender struct {
	// Placement answers the scheduler, and Ledger counts its slots. They are exported for tests that call them without
	// HTTP.
	Placement *placement.Placement
	Ledger    *ledger.Ledger

	cfg       *config.Config
	clients   Clients
	facts     *facts.Source
	nodes     *nodes.Nodes
	leader    leader
	requeuer  *requeue.Requeuer
	placement placement.Config
	// index knows the Pods that may return from the cloud, and wayHome moves them. Their Events go to events.
	index   *wayhome.Index
	wayHome *wayhome.Controller
	events  record.EventBroadcaster
	servers []serve.Server
	logger  *slog.Logger
}

// New returns an Extender. hostname is the name of the host, which is part of the identity in the Lease. It starts
// nothing.
//
// Each part is created from parts that exist already: whether this process leads decides whether Pods are requeued; the
// ledger requeues Pods; nodes and facts notify the ledger of changes; placement uses all of them, and the server calls
// placement.
func New(cfg *config.Config, clients Clients, hostname string, logger *slog.Logger) (*Extender, error) {
	decisions, err := policy.New(cfg.Policy)
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	leader := newLeader(cfg, clients.Leases, hostname, registry, logger)
	requeuer, err := requeue.New(clients.Kubernetes, leader, time.Now, registry, logger)
	if err != nil {
		return nil, err
	}
	nodeSet := nodes.New()
	var slots *ledger.Ledger
	source, err := facts.New(clients.Kubernetes, func() { slots.PolicyChanged() }, logger)
	if err != nil {
		return nil, err
	}
	slots = ledger.New(nodeSet, placement.Billing{Policy: decisions, Facts: source}, requeuer.Add)
	registry.MustRegister(ledger.NewCollector(slots))
	nodeSet.OnVirtualChange(slots.Recount)
	answers := placement.Config{
		Policy: decisions, Facts: source, Ledger: slots, Nodes: nodeSet,
		Slots: placement.PodSlots{Client: clients.Kubernetes}, Leadership: leader,
		Timeout: cfg.AnswerTimeout.Duration, Now: time.Now, Logger: logger,
	}
	e := &Extender{
		Placement: placement.New(answers), Ledger: slots,
		cfg: cfg, clients: clients, facts: source, nodes: nodeSet, leader: leader, requeuer: requeuer,
		placement: answers, logger: logger,
	}
	if err := e.addWayHome(registry); err != nil {
		return nil, err
	}
	handlers, err := server.New(e.Placement, cfg.AllowedClients(), registry, logger)
	if err != nil {
		return nil, err
	}
	rejections, err := serve.NewRejections(registry)
	if err != nil {
		return nil, err
	}
	e.servers = listeners(cfg, handlers, rejections)
	return e, nil
}

// PlacementWith returns another Placement over the same parts, which keeps slots elsewhere. It is exported for tests.
func (e *Extender) PlacementWith(slots placement.Slots) *placement.Placement {
	c := e.placement
	c.Slots = slots
	return placement.New(c)
}

// Run blocks until ctx ends or a part fails.
func (e *Extender) Run(ctx context.Context) error {
	e.logger.Info("starting", "address", e.cfg.Listen)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return e.facts.Run(ctx) })
	group.Go(func() error { e.nodes.Run(ctx, e.clients.Metadata); return nil })
	group.Go(func() error { e.followPods(ctx); return nil })
	group.Go(func() error { e.Ledger.RunRequeue(ctx, e.cfg.RequeueInterval.Duration); return nil })
	group.Go(func() error { e.Ledger.RunDeadlines(ctx, time.Now); return nil })
	group.Go(func() error { return e.requeuer.Run(ctx) })
	group.Go(func() error { return e.lead(ctx) })
	group.Go(func() error { return e.runWayHome(ctx) })
	for _, listener := range e.servers {
		group.Go(func() error { return listener.Run(ctx) })
	}
	return group.Wait()
}
