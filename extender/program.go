package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"

	"github.com/spillway-k8s/spillway/extender/leader"
	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/extender/nodes"
	"github.com/spillway-k8s/spillway/extender/placement"
	"github.com/spillway-k8s/spillway/extender/server"
	"github.com/spillway-k8s/spillway/extender/wake"
	"github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/facts"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/serve"
	"github.com/spillway-k8s/spillway/policy"
)

func program(ctx context.Context, args []string) error {
	cfg := defaultConfig()
	if err := config.Load("extender", args, cfg); err != nil {
		return err
	}
	logger, err := logging.SetUp(cfg.Logging, os.Stderr)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("asking for the name of this machine: %w", err)
	}
	e, err := newExtender(cfg, host, logger)
	if err != nil {
		return err
	}
	return e.run(ctx)
}

// extender is the program, put together and not started.
type extender struct {
	cfg      *Config
	client   kubernetes.Interface
	metadata metadata.Interface
	facts    *facts.Source
	nodes    *nodes.Nodes
	ledger   *ledger.Ledger
	waker    *wake.Waker
	answers  *placement.Placement
	// election is nil where this extender has no others beside it.
	election *leader.Election
	servers  []serve.Server
	logger   *slog.Logger
}

// newExtender puts the program together. host is where it runs: it shows in the Lease.
func newExtender(cfg *Config, host string, logger *slog.Logger) (*extender, error) {
	rest, err := cfg.Kube.REST("extender")
	if err != nil {
		return nil, err
	}
	e := &extender{cfg: cfg, logger: logger}
	if e.client, err = kubernetes.NewForConfig(rest); err != nil {
		return nil, fmt.Errorf("making the client: %w", err)
	}
	if e.metadata, err = metadata.NewForConfig(rest); err != nil {
		return nil, fmt.Errorf("making the metadata client: %w", err)
	}
	leases, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return nil, fmt.Errorf("making the client of the lease: %w", err)
	}
	e.election = e.newElection(leases, host, logger)
	return e, e.addParts(logger)
}

// addParts puts the answers over one set of caches.
func (e *extender) addParts(logger *slog.Logger) error {
	decide, err := policy.New(e.cfg.Policy)
	if err != nil {
		return err
	}
	e.waker = wake.New(e.client, time.Now, logger)
	e.nodes = nodes.New(func() { e.ledger.Recount() })
	e.ledger = ledger.New(e.nodes.IsVirtual, e.wake)
	if e.facts, err = facts.New(e.client, func() { e.ledger.WakeParked() }, logger); err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), ledger.NewCollector(e.ledger))
	var leadership placement.Leadership = leader.Alone{}
	if e.election != nil {
		leadership = e.election
		registry.MustRegister(leader.NewCollector(e.election))
	}
	slots := placement.PodSlots{Client: e.client}
	e.answers = placement.New(decide, e.facts, e.ledger, e.nodes, slots, leadership, e.cfg.Patience.Duration, logger)
	handlers, err := server.New(e.answers, e.cfg.names(), registry, logger)
	e.servers = e.cfg.listeners(handlers)
	return err
}

// run blocks until ctx ends or a part fails.
func (e *extender) run(ctx context.Context) error {
	e.logger.Info("starting", "listen", e.cfg.Listen)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return e.facts.Run(ctx) })
	group.Go(func() error { e.nodes.Run(ctx, e.metadata); return nil })
	group.Go(func() error { e.ledger.Run(ctx, e.client, e.logger); return nil })
	group.Go(func() error { e.ledger.RunWakes(ctx, e.cfg.WakePeriod.Duration); return nil })
	group.Go(func() error { return e.waker.Run(ctx) })
	group.Go(func() error { return e.stand(ctx) })
	for _, listener := range e.servers {
		group.Go(func() error { return listener.Run(ctx) })
	}
	return group.Wait()
}
