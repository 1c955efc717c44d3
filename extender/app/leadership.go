package app

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"

	"github.com/spillway-k8s/spillway/extender/config"
	"github.com/spillway-k8s/spillway/extender/leadership"
	"github.com/spillway-k8s/spillway/extender/placement"
)

// leaseName is the name of the Lease of the extenders.
const leaseName = "spillway-extender"

// leader is either kind of leadership.
type leader interface {
	placement.Leadership
	Run(ctx context.Context, callbacks leadership.Callbacks) error
}

// newLeader returns the leadership that the configuration asks for.
func newLeader(
	cfg *config.Config, leases kubernetes.Interface, hostname string, registry *prometheus.Registry, logger *slog.Logger,
) leader {
	if cfg.LeaderElectionNamespace != "" {
		election := leadership.NewElection(leadership.Config{
			Client: leases, Namespace: cfg.LeaderElectionNamespace, Name: leaseName,
			Identity: hostname + "_" + string(uuid.NewUUID()), Now: time.Now, Logger: logger,
		})
		registry.MustRegister(leadership.NewCollector(election))
		return election
	}
	if namespace, name, found := strings.Cut(cfg.SchedulerLease, "/"); found {
		lease := leadership.SchedulerLease{Namespace: namespace, Name: name}
		return leadership.NewScheduler(leases, lease, hostname, time.Now)
	}
	return leadership.NewSingleScheduler(time.Now)
}

// lead takes part in the leadership once the caches have synced. It blocks until ctx ends.
func (e *Extender) lead(ctx context.Context) error {
	if !e.awaitCaches(ctx) {
		return nil
	}
	// A new leader does not know which Pods wait for what, so it requeues every refused Pod.
	return e.leader.Run(ctx, leadership.Callbacks{Settle: e.settle, StartedLeading: e.Ledger.RequeueRefused})
}

// settle blocks until the ledger has counted everything that was answered in earlier terms: until it has seen the
// newest version of any Pod that the API server returns.
func (e *Extender) settle(ctx context.Context) error {
	e.Ledger.ResetConfirmed()
	version, err := e.newestPod(ctx)
	if err != nil {
		return err
	}
	return e.Ledger.WaitFor(ctx, version)
}

// newestPod returns the highest resource version of all Pods. A list without a resource version is consistent: it does
// not come from a cache that lags behind. The version of the list itself cannot be used: a watch of Pods does not
// advance to it while no Pod changes.
func (e *Extender) newestPod(ctx context.Context) (string, error) {
	pods := e.clients.Metadata.Resource(corev1.SchemeGroupVersion.WithResource("pods"))
	list, err := pods.List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", fmt.Errorf("listing pods: %w", err)
	}
	var newest uint64
	for i := range list.Items {
		pod := &list.Items[i]
		version, err := strconv.ParseUint(pod.ResourceVersion, 10, 64)
		if err != nil {
			return "", fmt.Errorf("reading the resource version of pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
		newest = max(newest, version)
	}
	return strconv.FormatUint(newest, 10), nil
}

// awaitCaches blocks until all caches have synced. It returns false if ctx ends before.
func (e *Extender) awaitCaches(ctx context.Context) bool {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !e.Placement.Synced() {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
	return true
}
