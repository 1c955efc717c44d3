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
	"k8s.io/client-go/rest"

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
	cluster, err := cfg.Kube.REST("extender")
	if err != nil {
		return err
	}
	e, err := newExtender(cfg, cluster, host, logger)
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
	// election is nil where the scheduler beside this extender elects the leader, or there is no other.
	election *leader.Election
	// beside is nil where there is an election.
	beside  *leader.Beside
	servers []serve.Server
	logger  *slog.Logger
}

// newExtender puts the program together. host is where it runs: it shows in the Lease.
func newExtender(cfg *Config, cluster *rest.Config, host string, logger *slog.Logger) (*extender, error) {
	var err error
	e := &extender{cfg: cfg, logger: logger}
	if e.client, err = kubernetes.NewForConfig(cluster); err != nil {
		return nil, fmt.Errorf("making the client: %w", err)
	}
	if e.metadata, err = metadata.NewForConfig(cluster); err != nil {
		return nil, fmt.Errorf("making the metadata client: %w", err)
	}
	leases, err := kubernetes.NewForConfig(cluster)
	if err != nil {
		return nil, fmt.Errorf("making the client of the lease: %w", err)
	}
	if cfg.LeaderElectionNamespace != "" {
		e.election = e.newElection(leases, host, logger)
	} else {
		e.beside = e.newBeside(leases, host)
	}
	return e, e.addParts(logger)
}

// addParts puts the answers over one set of caches.
func (e *extender) addParts(logger *slog.Logger) error {
	var err error
	e.waker = wake.New(e.client, time.Now, logger)
	e.nodes = nodes.New(func() { e.ledger.Recount() })
	e.ledger = ledger.New(e.nodes.IsVirtual, e.wake)
	if e.facts, err = facts.New(e.client, func() { e.ledger.WakeParked() }, logger); err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), ledger.NewCollector(e.ledger))
	if e.election != nil {
		registry.MustRegister(leader.NewCollector(e.election))
	}
	if e.answers, err = e.answersOver(placement.PodSlots{Client: e.client}); err != nil {
		return err
	}
	handlers, err := server.New(e.answers, e.cfg.names(), registry, logger)
	e.servers = e.cfg.listeners(handlers)
	return err
}

// answersOver makes what answers, keeping slots in a place.
func (e *extender) answersOver(slots placement.Slots) (*placement.Placement, error) {
	decide, err := policy.New(e.cfg.Policy)
	if err != nil {
		return nil, err
	}
	var leadership placement.Leadership = e.beside
	if e.election != nil {
		leadership = e.election
	}
	return placement.New(decide, e.facts, e.ledger, e.nodes, slots, leadership, e.cfg.Patience.Duration, e.logger), nil
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
