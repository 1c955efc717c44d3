package leadership

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/ptr"

	lease "github.com/spillway-k8s/spillway/internal/leaderelection"
)

// Another process acquires the Lease leaseDuration after it saw the last renewal. The leader stops answering one margin
// earlier.
const (
	leaseDuration = 6 * time.Second
	renewDeadline = 4 * time.Second
	retryPeriod   = time.Second
	margin        = time.Second
	// standDown is how long a leader that could not settle waits before it takes part again: long enough for the other
	// extenders to see that the Lease is free.
	standDown = 3 * retryPeriod
)

// Config is the configuration of an Election.
type Config struct {
	// Client renews and reads the Lease. It should be used for nothing else: other requests can use up its rate limit
	// and delay the renewal.
	Client kubernetes.Interface
	// Namespace and Name are those of the Lease.
	Namespace, Name string
	// Identity is unique for each process.
	Identity string
	// Now is the clock. It must be monotonic.
	Now    func() time.Time
	Logger *slog.Logger
}

// Election elects one of several extenders with a Lease.
type Election struct {
	Config

	mu sync.Mutex
	// term is the current term. It is zero until the term has settled.
	term Term
	// until is when this process stops answering unless it renews the Lease before.
	until time.Time
	// unsettled is true if the last candidacy ended because the term did not settle.
	unsettled bool
	// stop ends the current candidacy and its term.
	stop context.CancelFunc
}

// NewElection returns an Election that takes part once Run is called.
func NewElection(c Config) *Election { return &Election{Config: c, stop: func() {}} }

// Term returns the current term of this process, or ErrNotLeading. It does not block.
func (e *Election) Term() (Term, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.term == (Term{}) || !e.Now().Before(e.until) {
		return Term{}, ErrNotLeading
	}
	return e.term, nil
}

// Ready implements placement.Leadership.
func (e *Election) Ready() error {
	_, err := e.Term()
	return err
}

// CurrentTerm implements placement.Leadership. It does not block.
func (e *Election) CurrentTerm(context.Context) (Term, error) { return e.Term() }

// VerifyTerm implements placement.Leadership. It reads the Lease. It returns nil if the term was still current at some
// moment after the call began, and ErrNotLeading if the term is over. It blocks for one API call.
func (e *Election) VerifyTerm(ctx context.Context, term Term) error {
	current, err := e.read(ctx)
	if err != nil || current == term {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.term == term {
		e.endLocked()
	}
	return ErrNotLeading
}

// read reads the term of this process from the API server, and from no cache.
func (e *Election) read(ctx context.Context) (Term, error) {
	read, err := e.Client.CoordinationV1().Leases(e.Namespace).Get(ctx, e.Name, metav1.GetOptions{})
	if err != nil {
		return Term{}, fmt.Errorf("reading lease %s/%s: %w", e.Namespace, e.Name, err)
	}
	return e.ownTerm(read), nil
}

// ownTerm returns the term of this process, or zero if another process holds the Lease.
func (e *Election) ownTerm(read *coordinationv1.Lease) Term {
	if ptr.Deref(read.Spec.HolderIdentity, "") != e.Identity {
		return Term{}
	}
	return termOf(read)
}

// Run takes part in the election until ctx ends, then releases the Lease. It calls Settle once a second until it
// succeeds; after 10 s it releases the Lease so that another extender can lead. It blocks.
func (e *Election) Run(ctx context.Context, callbacks Callbacks) error {
	for ctx.Err() == nil {
		elector, err := e.elector(callbacks)
		if err != nil {
			return fmt.Errorf("preparing the leader election: %w", err)
		}
		candidacy, stop := context.WithCancel(ctx)
		e.mu.Lock()
		e.stop, e.unsettled = stop, false
		e.mu.Unlock()
		elector.Run(candidacy) // Until this process loses the Lease, or stop is called.
		if e.end(); e.wasUnsettled() {
			select {
			case <-ctx.Done():
			case <-time.After(standDown):
			}
		}
	}
	return nil
}

func (e *Election) wasUnsettled() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.unsettled
}

func (e *Election) elector(callbacks Callbacks) (*leaderelection.LeaderElector, error) {
	return leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &lease.Lock{
			Interface: &resourcelock.LeaseLock{
				LeaseMeta:  metav1.ObjectMeta{Namespace: e.Namespace, Name: e.Name},
				Client:     e.Client.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: e.Identity},
			},
			Now: e.Now, Renewed: e.renewed, End: e.end,
		},
		LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod, ReleaseOnCancel: true,
		Name: e.Name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(leading context.Context) { e.begin(leading, callbacks) },
			OnStoppedLeading: func() {},
		},
	})
}

// begin settles the term, then lets this process answer.
func (e *Election) begin(leading context.Context, callbacks Callbacks) {
	settling, cancel := context.WithTimeout(leading, settleTimeout)
	defer cancel()
	for settling.Err() == nil {
		err := e.settle(settling, callbacks)
		if err == nil || leading.Err() != nil {
			return
		}
		e.Logger.Warn("this process cannot answer in the new term yet, will retry", "err", err)
		select {
		case <-settling.Done():
		case <-time.After(time.Second):
		}
	}
	if leading.Err() == nil {
		e.Logger.Warn("releasing the lease: the slots of earlier terms could not be read in time",
			"timeout", settleTimeout)
		e.mu.Lock()
		defer e.mu.Unlock()
		e.unsettled = true
		e.endLocked()
	}
}

func (e *Election) settle(leading context.Context, callbacks Callbacks) error {
	term, err := e.read(leading)
	if err != nil {
		return err
	}
	if term == (Term{}) {
		return ErrNotLeading
	}
	if err := callbacks.Settle(leading); err != nil {
		return fmt.Errorf("reading the slots of earlier terms: %w", err)
	}
	if e.lead(leading, term) {
		callbacks.StartedLeading()
	}
	return nil
}

// lead sets the current term, unless the candidacy has ended.
func (e *Election) lead(leading context.Context, term Term) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if leading.Err() != nil {
		return false
	}
	e.term = term
	e.Logger.Info("started leading", "identity", e.Identity)
	return true
}

// end ends the candidacy and the current term, if there is one.
func (e *Election) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.endLocked()
}

// endLocked is end for callers that hold mu.
func (e *Election) endLocked() {
	if e.term != (Term{}) {
		e.Logger.Info("stopped leading", "identity", e.Identity)
	}
	e.term = Term{}
	e.stop()
}

// renewed extends the time for which this process answers. No other process acquires the Lease until leaseDuration
// after the renewal, which was after the request was sent. If another process held the Lease in between, the term is
// over.
func (e *Election) renewed(sent time.Time, transitions int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.until = sent.Add(leaseDuration - margin)
	if e.term != (Term{}) && e.term.transitions != int32(transitions) {
		e.endLocked()
	}
}
