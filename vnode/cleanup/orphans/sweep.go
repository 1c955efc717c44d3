package orphans

import (
	"context"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
)

// Sweep ends orphans for as long as it runs.
type Sweep struct {
	Finder *Finder
	// Interval is between two looks; an orphan is ended at the second look that finds it, so this is the age that it has at least.
	Interval time.Duration
	// Found is told after every look how many orphans there are, Ended of each that is ended, for metrics.
	Found  func(int)
	Ended  func()
	Logger *slog.Logger

	// seen are the orphans of the last look.
	seen map[types.UID]bool
	// seenCopies are the copies of virtual nodes that are no more.
	seenCopies map[types.UID]bool
}

// Run looks again and again until ctx ends. It blocks and returns nil: what fails is tried at the next look.
func (s *Sweep) Run(ctx context.Context) error {
	wait.JitterUntilWithContext(ctx, func(ctx context.Context) {
		s.look(ctx)
		s.lookForCopies(ctx)
	}, s.Interval, 0.2, true)
	return nil
}

// look compares the cloud with the cluster, once.
func (s *Sweep) look(ctx context.Context) {
	found, err := s.Finder.Find(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.Logger.Warn("looking for orphans in the cloud will be tried again", "err", err)
		}
		return // What was seen before must be seen again.
	}
	s.Found(len(found))
	seen := make(map[types.UID]bool, len(found))
	for _, o := range found {
		seen[o.Cloud.UID] = true
		if !s.seen[o.Cloud.UID] {
			s.Logger.Warn("a cloud pod has no pod and is ended if that stays so", "pod", o.Key, "node", o.Node, "cloud", o.Cloud.Name)
			continue
		}
		if err := s.Finder.End(ctx, o); err != nil {
			s.Logger.Warn("ending an orphan will be tried again", "pod", o.Key, "node", o.Node, "cloud", o.Cloud.Name, "err", err)
			continue
		}
		s.Ended()
		s.Logger.Info("ended an orphan", "pod", o.Key, "node", o.Node, "cloud", o.Cloud.Name)
	}
	s.seen = seen
}

// lookForCopies removes what two looks have found of virtual nodes that are no more.
func (s *Sweep) lookForCopies(ctx context.Context) {
	found, err := s.Finder.FindCopies(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.Logger.Warn("looking for copies of removed nodes in the cloud will be tried again", "err", err)
		}
		return
	}
	seen := make(map[types.UID]bool, len(found))
	for _, c := range found {
		seen[c.UID] = true
		if !s.seenCopies[c.UID] {
			continue
		}
		if err := s.Finder.Remove(ctx, c); err != nil {
			s.Logger.Warn("removing a copy of a removed node will be tried again", "mirror", c.Mirror.String(), "node", c.Node, "err", err)
			continue
		}
		s.Logger.Info("removed a copy of a removed node", "mirror", c.Mirror.String(), "node", c.Node)
	}
	s.seenCopies = seen
}
