// Package app assembles the proxy from its parts and runs them.
package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/proxy/addresses"
	"github.com/spillway-k8s/spillway/proxy/config"
	"github.com/spillway-k8s/spillway/proxy/dns"
	"github.com/spillway-k8s/spillway/proxy/endpoints"
	"github.com/spillway-k8s/spillway/proxy/forward"
	"github.com/spillway-k8s/spillway/proxy/servers"
	"github.com/spillway-k8s/spillway/proxy/state"
)

// Proxy is the program, assembled and not started.
type Proxy struct {
	state   *state.State
	servers *servers.Servers
	forward *forward.Forwarder
	dns     *dns.Server
	logger  *slog.Logger
}

// New returns a Proxy. It starts nothing.
//
// Data flows from the servers to the state, and from there to DNS and to the ports that forward. DNS opens the ports of
// a Service before it answers with their address.
func New(cfg *config.Config, logger *slog.Logger) *Proxy {
	p := &Proxy{logger: logger}
	p.state = state.New(state.Config{
		Place: endpoints.Place{Node: cfg.Node, Zone: cfg.Zone}, APIServerPort: uint16(cfg.APIServerPort),
		Changed: func(name types.NamespacedName) { p.forward.Changed(name) },
	})
	namespace, name := cfg.Server()
	p.servers = servers.New(cfg.Kubeconfig, func() []netip.AddrPort {
		if service := p.state.Get(namespace, name); service != nil {
			return service.All()
		}
		return nil
	}, logger)
	table := addresses.New()
	p.forward = forward.New(forward.Config{
		Service: p.state.Get, Table: table, ReservedPorts: cfg.ReservedPorts,
		Limits: forward.Limits{
			Services: cfg.MaxServices, Connections: cfg.MaxConnections, Sessions: cfg.MaxSessions,
		},
		Now: time.Now, Logger: logger,
	})
	p.dns = dns.New(dns.Config{
		Address: cfg.DNSAddress, ClusterDomain: cfg.ClusterDomain, Nameservers: cfg.NameserverAddresses(),
		Service: p.state.Get, HasNamespace: p.state.HasNamespace,
		Addresses: p.forward.Addresses, Owner: table.Service, Ready: p.ready,
		Version: run.Version("proxy"), Logger: logger,
	})
	return p
}

// ready returns why Services are not known yet, or nil.
func (p *Proxy) ready() error {
	err := p.state.Missing()
	if failure := p.servers.Failure(); err != nil && failure != nil {
		return fmt.Errorf("%w: %w", err, failure)
	}
	return err
}

// Run blocks until ctx ends or a part fails. After ctx has ended it waits until connections end. After a failure it
// does not: the Pod needs another process at once.
func (p *Proxy) Run(ctx context.Context) error {
	p.logger.Info("starting", "address", p.dns.Address)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.state.Run(ctx, &http.Client{Transport: p.servers}) })
	group.Go(func() error { p.forward.Run(ctx); return nil })
	group.Go(func() error { return p.dns.Run(ctx) })
	group.Go(func() error {
		select {
		case <-p.state.Listed():
			debug.FreeOSMemory() // The lists took several times of what is kept.
		case <-ctx.Done():
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return err
	}
	p.forward.Wait()
	return nil
}
