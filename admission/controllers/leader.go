package controllers

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// How soon another process takes over from one that was killed, and how long a leader that cannot renew goes on. Nothing breaks
// where two overlap: every patch names the version of the Pod that it was made for.
const (
	leaseDuration = 10 * time.Second
	renewDeadline = 7 * time.Second
	retryPeriod   = time.Second
)

// Leader runs the controllers in one process of several.
type Leader struct {
	// Client renews the Lease. It should be used for nothing else, or a burst of patches delays the renewal.
	Client kubernetes.Interface
	// Namespace and Name are the Lease's.
	Namespace, Name string
	// Identity tells the processes apart.
	Identity string
	// Gauge is 1 while this process leads.
	Gauge  prometheus.Gauge
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
	l.Logger.Info("leading: the controllers run here", "identity", l.Identity)
	l.Gauge.Set(1)
	defer l.Gauge.Set(0)
	err := lead(leading)
	l.Logger.Info("leading no longer", "identity", l.Identity)
	return err
}

func (l Leader) elector(began func(context.Context)) (*leaderelection.LeaderElector, error) {
	return leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: l.Namespace, Name: l.Name},
			Client:     l.Client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: l.Identity},
		},
		LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod, ReleaseOnCancel: true, Name: l.Name,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: began, OnStoppedLeading: func() {}},
	})
}
