// Package leader makes one process of several do something, by a Lease: what they do may overlap for a moment, when one that was cut off does
// not know yet. Where that must not be, more is needed: see extender/leader.
package leader

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// retryPeriod is how often the Lease is looked at.
const retryPeriod = time.Second

// Leader takes part for one process.
type Leader struct {
	// Client renews the Lease. It should be used for nothing else, or a burst of patches delays the renewal.
	Client kubernetes.Interface
	// Namespace and Name are the Lease's.
	Namespace, Name string
	// Identity tells the processes apart. One that comes back with the same need not wait until its own Lease has run out.
	Identity string
	// Lease is how soon another process takes over from one that was killed, and a little more than how long a leader goes on that
	// cannot renew. More survives longer outages of the API server.
	Lease time.Duration
	// Leads is told when this process begins and ceases to lead.
	Leads  func(bool)
	Logger *slog.Logger
}

// Run calls lead whenever this process becomes the leader, with a context that ends when it is no longer, until ctx ends or lead
// fails. lead has returned before it is called again. It blocks.
func (l Leader) Run(ctx context.Context, lead func(context.Context) error) error {
	for ctx.Err() == nil {
		if err := l.term(ctx, lead); err != nil {
			return err
		}
	}
	return nil
}

// term waits for the leadership and holds it for as long as it lasts. The Lease is given back after lead has returned.
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

// lead calls lead with a context that ends with either of the two.
func (l Leader) lead(ctx, leading context.Context, lead func(context.Context) error) error {
	leading, cancel := context.WithCancel(leading)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	l.Logger.Info("leading", "lease", l.Namespace+"/"+l.Name, "identity", l.Identity)
	l.Leads(true)
	defer l.Leads(false)
	err := lead(leading)
	l.Logger.Info("leading no longer", "lease", l.Namespace+"/"+l.Name, "identity", l.Identity)
	return err
}

func (l Leader) elector(began func(context.Context)) (*leaderelection.LeaderElector, error) {
	return leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: l.Namespace, Name: l.Name},
			Client:     l.Client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: l.Identity},
		},
		LeaseDuration: l.Lease, RenewDeadline: l.Lease * 7 / 10, RetryPeriod: retryPeriod, ReleaseOnCancel: true, Name: l.Name,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: began, OnStoppedLeading: func() {}},
	})
}
