package orphans

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/spillway-k8s/spillway/internal/logging"
)

// SweepConfig configures a Sweep.
type SweepConfig struct {
	// Finder finds the orphans, the mirrors and the image snapshots.
	Finder *Finder
	// Interval is the time between two comparisons. An orphan is deleted by the second comparison in a row that finds
	// it, so its age is at least Interval.
	Interval time.Duration
	// Registerer registers the metrics. Nil registers nothing.
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

// Sweep deletes orphans, and mirrors and image snapshots of virtual nodes that no longer exist, while it runs.
type Sweep struct {
	config  SweepConfig
	metrics metrics
	// seen holds the orphans of the last comparison, seenMirrors the mirrors, seenSnapshots the image snapshots.
	seen, seenMirrors, seenSnapshots map[types.UID]bool
}

// NewSweep returns a Sweep. It starts nothing.
func NewSweep(config SweepConfig) *Sweep {
	return &Sweep{config: config, metrics: newMetrics(config.Registerer)}
}

// Run compares the cloud with the cluster at each interval, until ctx ends. It blocks and returns nil. The next
// comparison retries what failed.
func (s *Sweep) Run(ctx context.Context) error {
	wait.JitterUntilWithContext(ctx, func(ctx context.Context) {
		s.sweepPods(ctx)
		s.sweepMirrors(ctx)
		s.sweepSnapshots(ctx)
	}, s.config.Interval, 0.2, true)
	return nil
}

// sweepPods compares the cloud Pods with the Pods of the cluster once.
func (s *Sweep) sweepPods(ctx context.Context) {
	logger := s.config.Logger
	found, err := s.config.Finder.Find(ctx)
	if err != nil {
		if ctx.Err() == nil {
			logger.Warn("failed to find orphans in the cloud, will retry", "err", err)
		}
		return // Keep what the last comparison found.
	}
	s.metrics.orphans.Set(float64(len(found)))
	seen := make(map[types.UID]bool, len(found))
	for _, o := range found {
		seen[o.Cloud.UID] = true
		if !s.seen[o.Cloud.UID] {
			logger.Warn("a cloud pod has no pod, it is deleted if the next comparison confirms it",
				logging.Pod(o.Key.Namespace, o.Key.Name, o.Key.UID), "owner", o.Node, "cloud", o.Cloud.Name)
			continue
		}
		if err := s.config.Finder.Delete(ctx, o); err != nil {
			logger.Warn("failed to delete an orphan, will retry",
				logging.Pod(o.Key.Namespace, o.Key.Name, o.Key.UID), "owner", o.Node, "cloud", o.Cloud.Name, "err", err)
			continue
		}
		s.metrics.deleted.Inc()
		logger.Info("deleted an orphan",
			logging.Pod(o.Key.Namespace, o.Key.Name, o.Key.UID), "owner", o.Node, "cloud", o.Cloud.Name)
	}
	s.seen = seen
}

// sweepMirrors deletes the mirrors that two comparisons in a row have found.
func (s *Sweep) sweepMirrors(ctx context.Context) {
	logger := s.config.Logger
	found, err := s.config.Finder.FindMirrors(ctx)
	if err != nil {
		if ctx.Err() == nil {
			logger.Warn("failed to find copies of deleted nodes in the cloud, will retry", "err", err)
		}
		return
	}
	seen := make(map[types.UID]bool, len(found))
	for _, m := range found {
		seen[m.UID] = true
		if !s.seenMirrors[m.UID] {
			continue
		}
		if err := s.config.Finder.DeleteMirror(ctx, m); err != nil {
			logger.Warn("failed to delete a copy of a deleted node, will retry",
				"mirror", m.Mirror.String(), "owner", m.Node, "err", err)
			continue
		}
		logger.Info("deleted a copy of a deleted node", "mirror", m.Mirror.String(), "owner", m.Node)
	}
	s.seenMirrors = seen
}

// sweepSnapshots deletes the image snapshots that two comparisons in a row have found.
func (s *Sweep) sweepSnapshots(ctx context.Context) {
	logger := s.config.Logger
	found, err := s.config.Finder.FindSnapshots(ctx)
	if err != nil {
		if ctx.Err() == nil {
			logger.Warn("failed to find image snapshots of deleted nodes in the cloud, will retry", "err", err)
		}
		return
	}
	seen := make(map[types.UID]bool, len(found))
	for i := range found {
		snapshot := &found[i]
		seen[snapshot.UID] = true
		if !s.seenSnapshots[snapshot.UID] {
			continue
		}
		if err := s.config.Finder.DeleteSnapshot(ctx, snapshot); err != nil {
			logger.Warn("failed to delete an image snapshot of a deleted node, will retry",
				"snapshot", snapshot.Name, "err", err)
			continue
		}
		logger.Info("deleted an image snapshot of a deleted node",
			"snapshot", snapshot.Name, "image", snapshot.Spec.Images[0].Image)
	}
	s.seenSnapshots = seen
}
