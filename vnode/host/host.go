// Package host runs virtual nodes in a process. For each of them the process takes part in the election of a Lease.
// While it holds the Lease it runs the virtual node (package app), and when it loses the Lease it takes part again. So
// the nodes of a process that ends, hangs or is cut off go to another process that has the same nodes.
package host

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"

	"github.com/spillway-k8s/spillway/internal/leaderelection"
	"github.com/spillway-k8s/spillway/internal/serve"
	"github.com/spillway-k8s/spillway/vnode/app"
	"github.com/spillway-k8s/spillway/vnode/config"
	"github.com/spillway-k8s/spillway/vnode/services"
)

const (
	// leasePrefix begins the name of the Lease of a node. The name of the node follows.
	leasePrefix = "spillway-vnode-"
	// leaseDuration is how long a node stays with a process that was killed. The cluster marks a Node NotReady after 40
	// s without a heartbeat, and the last one may be 10 s older than the last renewal of the Lease.
	leaseDuration = 15 * time.Second
	// spread is how long a process leaves the nodes that it does not prefer to the processes that do. Processes of one
	// release start at about the same time.
	spread = 5 * time.Second
	// minBackoff and maxBackoff are how long a process does not take part in the election of a node that has failed in
	// it. Meanwhile another process can try.
	minBackoff, maxBackoff = 3 * time.Second, time.Minute
	// teardownLimit is how long the end of a term may take before the process counts as broken.
	teardownLimit = time.Minute
)

// Host runs the virtual nodes of a configuration that this process is elected for.
type Host struct {
	logger     *slog.Logger
	nodes      []*candidate
	registry   *prometheus.Registry
	healthPort serve.Server
	// services are those of the cluster, nil if no Pod can reach any.
	services servicesOfCluster
}

// servicesOfCluster are the Services of the cluster for the virtual nodes of this process (services.Server).
type servicesOfCluster interface {
	Run(context.Context) error
	Ready() error
}

// virtualNode is what runs a virtual node for one term (app.App).
type virtualNode interface {
	Run(context.Context) error
	Ready() error
	Gatherer() prometheus.Gatherer
	Close()
}

// parts creates what a Host needs for each node.
type parts struct {
	// build creates a virtual node for one term. client creates a client for its Lease.
	build  func(*config.Config, app.Guard) (virtualNode, error)
	client func(*config.Config) (kubernetes.Interface, error)
}

// New checks what can be checked without a connection, and starts nothing. hostname is the name of the process, unless
// the configuration has another.
func New(cfg *config.Config, hostname string, logger *slog.Logger) (*Host, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	rejections, err := serve.NewRejections(registry)
	if err != nil {
		return nil, err
	}
	server, err := newServices(cfg, rejections, registry, logger)
	if err != nil {
		return nil, err
	}
	h, err := newHost(cfg, hostname, registry, parts{
		build: func(one *config.Config, guard app.Guard) (virtualNode, error) {
			return app.New(one, guard, server, rejections, logger)
		},
		client: func(one *config.Config) (kubernetes.Interface, error) { return one.KubeClient("vnode") },
	}, logger)
	if err != nil {
		return nil, err
	}
	if server != nil {
		h.services = server
	}
	h.healthPort = serve.Server{
		Name: "health", Rejections: rejections, Address: cfg.HealthListen, Handler: h.health(),
	}
	return h, nil
}

// newServices returns the Services of the cluster for all virtual nodes of this process, nil if no Pod can reach any.
func newServices(
	cfg *config.Config, rejections *serve.Rejections, registry *prometheus.Registry, logger *slog.Logger,
) (*services.Server, error) {
	if !cfg.FollowsServices() {
		return nil, nil
	}
	client, err := cfg.KubeClient("vnode")
	if err != nil {
		return nil, err
	}
	address := ""
	if cfg.ServesServices() {
		address = cfg.Services.Address
	}
	_, port, _ := net.SplitHostPort(cfg.Services.Address)
	pods := 0
	for _, one := range cfg.PerNode() {
		pods += int(one.Node.Pods)
	}
	return services.New(services.Config{
		Address: address, Addresses: cfg.Pods.Proxy.Addresses, Own: net.JoinHostPort(cfg.Node.IP, port),
		Namespaces: cfg.Pods.Proxy.Namespaces, Namespace: cfg.LeaderElectionNamespace, Pods: pods, Client: client,
		Rejections: rejections, Registerer: registry, Now: time.Now, Logger: logger,
	})
}

func newHost(
	cfg *config.Config, name string, registry *prometheus.Registry, parts parts, logger *slog.Logger,
) (*Host, error) {
	if cfg.ProcessName != "" {
		name = cfg.ProcessName
	}
	h := &Host{logger: logger, registry: registry}
	perNode := cfg.PerNode()
	for i, one := range perNode {
		first, err := parts.build(one, leaderelection.NewTerm(leaseDuration))
		if err != nil {
			return nil, err
		}
		first.Close() // It was made to find errors of the configuration early.
		client, err := parts.client(one)
		if err != nil {
			return nil, err
		}
		n := &candidate{
			config: one, build: parts.build, logger: logger.With("node", one.Node.Name), only: len(perNode) == 1,
			preferred: prefers(name, i, len(perNode)),
		}
		n.leader = leaderelection.Leader{
			Client: client, Namespace: cfg.LeaderElectionNamespace, Name: leasePrefix + one.Node.Name, Identity: name,
			Lease: leaseDuration, Observed: n.observed, Logger: logger,
		}
		h.nodes = append(h.nodes, n)
	}
	return h, h.register()
}

// prefers reports whether a process prefers the i-th of count nodes. The number at the end of its name says which one,
// as in the names of the Pods of a StatefulSet. A process without a number prefers all nodes.
func prefers(name string, i, count int) bool {
	number := name[len(strings.TrimRight(name, "0123456789")):]
	if len(number) > 9 {
		number = number[len(number)-9:]
	}
	ordinal, err := strconv.Atoi(number)
	return err != nil || ordinal%count == i
}

// Run takes part in the elections until ctx ends, or until the only node fails at the start. It then leaves the Nodes
// and the cloud Pods as they are, and releases the Leases.
func (h *Host) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	if h.healthPort.Handler != nil {
		group.Go(func() error { return h.healthPort.Run(ctx) })
	}
	if h.services != nil {
		group.Go(func() error { return h.services.Run(ctx) })
	}
	for _, n := range h.nodes {
		group.Go(func() error {
			if !n.preferred && !pause(ctx, spread) {
				return nil
			}
			if err := n.run(ctx); err != nil {
				return fmt.Errorf("running node %s: %w", n.config.Node.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// pause returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
