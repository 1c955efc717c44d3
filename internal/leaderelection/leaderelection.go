// Package leaderelection runs a task in one of several processes, which a Lease elects. After a network partition, the
// old and the new leader may both run for a moment: the old leader does not know yet that it lost the Lease. Where that
// must never happen, more is needed: see extender/leadership.
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
	// Lease expires.
	Identity string
	// Lease is how soon another process takes over from a process that was killed. It is also a little longer than a
	// leader keeps running when it cannot renew. More survives longer outages of the API server.
	Lease time.Duration
	// Leads is called when this process becomes the leader and when it stops being the leader.
	Leads  func(bool)
	Logger *slog.Logger
}

// Run calls lead each time this process becomes the leader. The context of lead ends when the process is no longer the
// leader. Run blocks until ctx ends or lead fails, and never calls lead before its last call has returned.
func (l Leader) Run(ctx context.Context, lead func(context.Context) error) error {
	for ctx.Err() == nil {
		if err := l.term(ctx, lead); err != nil {
			return err
		}
	}
	return nil
}

// term waits until this process is elected and runs lead until the term ends. It releases the Lease after lead has
// returned.
func (l Leader) term(ctx context.Context, lead func(context.Context) error) error {
	electing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	began, ended := make(chan context.Context), make(chan struct{})
	elector, err := l.elector(func(leading context.Context) {
		select {
		case began <- leading:
		case <-leading.Done():
		}
	})
	if err != nil {
		return fmt.Errorf("preparing the leader election: %w", err)
	}
	go func() {
		defer close(ended)
		elector.Run(electing)
	}()
	select {
	case leading := <-began:
		err = l.lead(ctx, leading, lead)
	case <-ctx.Done():
	case <-ended:
	}
	stop()
	<-ended
	return err
}

// lead calls lead with a context that ends when either of the two contexts ends.
func (l Leader) lead(ctx, leading context.Context, lead func(context.Context) error) error {
	leading, cancel := context.WithCancel(leading)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	l.Logger.Info("became the leader", "lease", l.Namespace+"/"+l.Name, "identity", l.Identity)
	l.Leads(true)
	defer l.Leads(false)
	err := lead(leading)
	l.Logger.Info("no longer the leader", "lease", l.Namespace+"/"+l.Name, "identity", l.Identity)
	return err
}

func (l Leader) elector(began func(context.Context)) (*leaderelection.LeaderElector, error) {
	return leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: l.Namespace, Name: l.Name},
			Client:     l.Client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: l.Identity},
		},
		LeaseDuration: l.Lease, RenewDeadline: l.Lease * 7 / 10, RetryPeriod: retryPeriod, ReleaseOnCancel: true,
		Name:      l.Name,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: began, OnStoppedLeading: func() {}},
	})
}
