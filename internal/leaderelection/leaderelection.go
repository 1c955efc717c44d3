// Package leaderelection runs a task in one of several processes, which a Lease elects. A leader that was suspended, or
// cut off, may still run when another process leads: it does not know yet that it lost the Lease. A task that must not
// write then sends its requests through its Term. Where a clock must not decide, more is needed: see
// extender/leadership.
package leaderelection

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/spillway-k8s/spillway/internal/logging"
)

// retryPeriod is how often the Lease is read.
const retryPeriod = time.Second

// AddFlags binds the flag --leader-election-namespace, which names the namespace of the Lease.
func AddFlags(flags *pflag.FlagSet, namespace *string) {
	flags.StringVar(namespace, "leader-election-namespace", *namespace,
		"`namespace` of the Lease that elects one process of several")
}

// Leader takes part in the election for one process.
type Leader struct {
	// Client renews the Lease. Do not use it for anything else: a burst of other requests delays the renewal.
	Client kubernetes.Interface
	// Namespace and Name are the Lease's.
	Namespace, Name string
	// Identity distinguishes the processes. A process that restarts with the same identity does not wait until its own
	// Lease expires, so no two processes may have it at the same time.
	Identity string
	// Lease is how soon another process takes over from a process that was killed. More survives longer outages of the
	// API server.
	Lease time.Duration
	// Leads is called when this process becomes the leader and when it stops being the leader. Optional.
	Leads func(bool)
	// Observed is called with the identity of the holder when it changes, "" if there is none. Optional.
	Observed func(holder string)
	Logger   *slog.Logger
}

// renewDeadline returns how long a leader keeps running when it cannot renew a Lease of this duration.
func renewDeadline(lease time.Duration) time.Duration { return lease * 7 / 10 }

// Run calls lead each time this process becomes the leader. The context of lead ends when the term ends. Run blocks
// until ctx ends or lead fails, and never calls lead before its last call has returned. If the term has ended by
// itself, the error of lead is ignored.
func (l Leader) Run(ctx context.Context, lead func(context.Context, *Term) error) error {
	for ctx.Err() == nil {
		if err := l.candidacy(ctx, lead); err != nil {
			return err
		}
	}
	return nil
}

// candidacy waits until this process is elected and runs lead until the term ends. It releases the Lease after lead
// has returned. If the Lease could not be renewed in time, it may be released earlier: the term is over then.
func (l Leader) candidacy(ctx context.Context, lead func(context.Context, *Term) error) error {
	electing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	term := NewTerm(renewDeadline(l.Lease))
	defer term.End()
	began, ended := make(chan struct{}), make(chan struct{})
	elector, err := l.elector(term, func(context.Context) { close(began) })
	if err != nil {
		return fmt.Errorf("preparing the leader election: %w", err)
	}
	go func() {
		defer close(ended)
		elector.Run(electing)
	}()
	select {
	case <-began:
		err = l.lead(ctx, term, lead)
	case <-ctx.Done():
	case <-ended:
	}
	stop()
	<-ended
	return err
}

// lead calls lead with a context that ends when ctx or the term ends.
func (l Leader) lead(ctx context.Context, term *Term, lead func(context.Context, *Term) error) error {
	leading, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(term.ctx, cancel)()
	l.Logger.Info("became the leader", logging.Object("lease", l.Namespace, l.Name), "identity", l.Identity)
	if l.Leads != nil {
		l.Leads(true)
		defer l.Leads(false)
	}
	err := lead(leading, term)
	l.Logger.Info("no longer the leader", logging.Object("lease", l.Namespace, l.Name), "identity", l.Identity)
	if term.Err() != nil {
		return nil // What was cut off in the middle fails, and says nothing.
	}
	return err
}

func (l Leader) elector(term *Term, began func(context.Context)) (*leaderelection.LeaderElector, error) {
	observed := l.Observed
	if observed == nil {
		observed = func(string) {}
	}
	return leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &Lock{
			Interface: &resourcelock.LeaseLock{
				LeaseMeta:  metav1.ObjectMeta{Namespace: l.Namespace, Name: l.Name},
				Client:     l.Client.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: l.Identity},
			},
			Now: time.Now, Renewed: term.Renew, End: term.End, Over: func() bool { return term.ctx.Err() != nil },
		},
		LeaseDuration: l.Lease, RenewDeadline: renewDeadline(l.Lease), RetryPeriod: retryPeriod, ReleaseOnCancel: true,
		Name: l.Name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: began, OnStoppedLeading: func() {}, OnNewLeader: observed,
		},
	})
}
