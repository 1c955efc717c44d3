package main

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"

	"github.com/spillway-k8s/spillway/extender/leader"
	"github.com/spillway-k8s/spillway/extender/ledger"
)

// leaseName is the Lease of the extenders.
const leaseName = "spillway-extender"

// newElection prepares the election. It renews the Lease over a client of its own: slots and wake-ups must not keep it waiting.
func (e *extender) newElection(client kubernetes.Interface, host string, logger *slog.Logger) *leader.Election {
	return leader.New(leader.Config{
		Client: client, Namespace: e.cfg.LeaderElectionNamespace, Name: leaseName, Identity: host + "_" + string(uuid.NewUUID()),
		// Who waits for what, the new leader does not know: all that were refused ask once more.
		Settle: e.settle, Lead: func() { e.ledger.WakeRefused() }, Now: time.Now, Logger: logger,
	})
}

// newBeside prepares the leadership of an extender beside a scheduler, over a client of its own for the same reason.
func (e *extender) newBeside(client kubernetes.Interface, host string) *leader.Beside {
	if namespace, name, found := strings.Cut(e.cfg.SchedulerLease, "/"); found {
		return leader.NewBeside(client, leader.SchedulerLease{Namespace: namespace, Name: name}, host, e.settle, time.Now)
	}
	return leader.NewAlone(e.settle, time.Now)
}

// stand makes this extender the one that answers, once its caches are filled: at once where there are no others, else whenever it leads.
// It blocks until ctx ends.
func (e *extender) stand(ctx context.Context) error {
	if !e.awaitCaches(ctx) {
		return nil
	}
	if e.election != nil {
		return e.election.Run(ctx)
	}
	e.ledger.WakeRefused()
	<-ctx.Done()
	return nil
}

// settle brings the ledger to where all that was answered in earlier terms is counted: to the newest version of any Pod, by the API
// server's own word.
func (e *extender) settle(ctx context.Context) error {
	e.ledger.Disown()
	version, err := e.newestPod(ctx)
	if err != nil {
		return err
	}
	return e.ledger.WaitFor(ctx, version)
}

// wake makes the scheduler look at a Pod again, where this extender answers: who leads has a list of its own of those that wait.
func (e *extender) wake(pod ledger.PodRef) {
	if e.election != nil {
		if _, err := e.election.Term(); err != nil {
			return
		}
	}
	e.waker.Wake(pod)
}

// newestPod is the highest resource version of all Pods. A list that asks for no version is as new as the moment, and from no cache that
// lags behind. Its own version would not do: a watch of Pods stands still where nothing happens to Pods.
func (e *extender) newestPod(ctx context.Context) (string, error) {
	list, err := e.metadata.Resource(corev1.SchemeGroupVersion.WithResource("pods")).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", fmt.Errorf("listing pods: %w", err)
	}
	var newest uint64
	for i := range list.Items {
		version, err := strconv.ParseUint(list.Items[i].ResourceVersion, 10, 64)
		if err != nil {
			return "", fmt.Errorf("reading the resource version of pod %s/%s: %w", list.Items[i].Namespace, list.Items[i].Name, err)
		}
		newest = max(newest, version)
	}
	return strconv.FormatUint(newest, 10), nil
}

// awaitCaches is false where ctx ends first.
func (e *extender) awaitCaches(ctx context.Context) bool {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !e.answers.Filled() {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
	return true
}
