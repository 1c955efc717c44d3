// Package leader makes one extender of several the one that answers: by a Lease of its own (Election), or by that of the scheduler beside it (Beside). It
// knows nothing of what is answered.
//
// Two processes can believe at one moment that they lead: one that was stopped and goes on does not know how long it slept. So the clock
// only closes the door of a leader that was cut off, as soon as possible. What must be exact does not build on clocks: a leader makes
// what it has decided durable, then reads the Lease (Confirm), and only then says it. If the Lease was still its own, whoever leads next
// reads all that when its term begins (Config.Settle); if not, nothing is said.
package leader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/ptr"
)

// Another process takes over leaseDuration after it saw the last renewal; by then the leader has closed its door, margin before.
const (
	leaseDuration = 6 * time.Second
	renewDeadline = 4 * time.Second
	retryPeriod   = time.Second
	margin        = time.Second
	// settleTime is how long a new leader may take to settle before it gives the Lease back: another may have better luck.
	settleTime = 10 * time.Second
	// chance is how long it then stays away: long enough for the others to see that the Lease is free.
	chance = 3 * retryPeriod
)

// Term is one time of leadership of one process; it never comes again. The zero Term is nobody's.
type Term struct {
	lease       types.UID
	transitions int32
}

// Config is what an Election needs.
type Config struct {
	// Client renews and reads the Lease. It should be used for nothing else, or a burst of requests delays the renewal.
	Client kubernetes.Interface
	// Namespace and Name are the Lease's.
	Namespace, Name string
	// Identity tells the processes apart; two never have the same.
	Identity string
	// Settle is called at the beginning of each term, and returns when this process knows what was made durable in earlier terms. It
	// may block, and is called again a second after an error; after 10 s the Lease is given back.
	Settle func(context.Context) error
	// Lead is called when a term has settled and this process answers. It must not block.
	Lead func()
	// Now is the clock. It must not go back.
	Now    func() time.Time
	Logger *slog.Logger
}

// Election takes part for one process.
type Election struct {
	Config

	mu sync.Mutex
	// term is the one that has settled, zero where there is none.
	term Term
	// until is when the door closes unless the Lease is renewed.
	until time.Time
	// unsettled: the last candidacy ended because the caches did not settle.
	unsettled bool
	// stop ends the present candidacy, and with it a term that may have begun.
	stop context.CancelFunc
}

// New makes an Election that does not take part yet.
func New(c Config) *Election { return &Election{Config: c, stop: func() {}} }

// ErrNotLeading says that another process answers, or will.
var ErrNotLeading = errors.New("another extender leads, or will in a moment")

// Term is the present term of this process, or ErrNotLeading. It does not block.
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

// Enter implements placement.Leadership. It does not block.
func (e *Election) Enter(context.Context) (Term, error) { return e.Term() }

// Confirm reads the Lease: nil says that the term was still on at some moment after the call, and ErrNotLeading that it is over. It
// blocks for one API call.
func (e *Election) Confirm(ctx context.Context, term Term) error {
	present, err := e.read(ctx)
	if err != nil || present == term {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.term == term {
		e.end()
	}
	return ErrNotLeading
}

// read asks the API server, and no cache, for the term of this process.
func (e *Election) read(ctx context.Context) (Term, error) {
	lease, err := e.Client.CoordinationV1().Leases(e.Namespace).Get(ctx, e.Name, metav1.GetOptions{})
	if err != nil {
		return Term{}, fmt.Errorf("reading lease %s/%s: %w", e.Namespace, e.Name, err)
	}
	return e.termIn(lease), nil
}

// termIn is the term of this process, zero where the Lease is not its own.
func (e *Election) termIn(lease *coordinationv1.Lease) Term {
	if ptr.Deref(lease.Spec.HolderIdentity, "") != e.Identity {
		return Term{}
	}
	return termOf(lease)
}

func termOf(lease *coordinationv1.Lease) Term {
	return Term{lease: lease.UID, transitions: ptr.Deref(lease.Spec.LeaseTransitions, 0)}
}

// Run takes part until ctx ends, then gives the Lease back. It blocks.
func (e *Election) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		elector, err := e.elector()
		if err != nil {
			return fmt.Errorf("preparing the leader election: %w", err)
		}
		candidacy, stop := context.WithCancel(ctx)
		e.mu.Lock()
		e.stop, e.unsettled = stop, false
		e.mu.Unlock()
		elector.Run(candidacy) // Until the Lease is lost, or stop.
		if e.close(); e.wasUnsettled() {
			select {
			case <-ctx.Done():
			case <-time.After(chance):
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

func (e *Election) elector() (*leaderelection.LeaderElector, error) {
	return leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &door{election: e, Interface: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: e.Namespace, Name: e.Name},
			Client:     e.Client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: e.Identity},
		}},
		LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod, ReleaseOnCancel: true, Name: e.Name,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: e.begin, OnStoppedLeading: func() {}},
	})
}

// begin opens the door when the term has settled.
func (e *Election) begin(leading context.Context) {
	settling, cancel := context.WithTimeout(leading, settleTime)
	defer cancel()
	for settling.Err() == nil {
		err := e.settle(settling)
		if err == nil || leading.Err() != nil {
			return
		}
		e.Logger.Warn("beginning to lead; trying again", "err", err)
		select {
		case <-settling.Done():
		case <-time.After(time.Second):
		}
	}
	if leading.Err() == nil {
		e.Logger.Warn("giving the lease back: what was decided before could not be read", "within", settleTime)
		e.mu.Lock()
		defer e.mu.Unlock()
		e.unsettled = true
		e.end()
	}
}

func (e *Election) settle(leading context.Context) error {
	term, err := e.read(leading)
	if err != nil {
		return err
	}
	if term == (Term{}) {
		return ErrNotLeading
	}
	if err := e.Settle(leading); err != nil {
		return fmt.Errorf("reading what was decided before: %w", err)
	}
	if e.open(leading, term) {
		e.Lead()
	}
	return nil
}

func (e *Election) open(leading context.Context, term Term) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if leading.Err() != nil {
		return false
	}
	e.term = term
	e.Logger.Info("leading", "identity", e.Identity)
	return true
}

// close ends the term here, if there is one, and the candidacy. The door opens again with the next term.
func (e *Election) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.end()
}

// end needs the lock.
func (e *Election) end() {
	if e.term != (Term{}) {
		e.Logger.Info("leading no longer", "identity", e.Identity)
	}
	e.term = Term{}
	e.stop()
}

// renewed keeps the door open: nobody takes the Lease until leaseDuration after it was renewed, which was after the request was sent. A
// Lease that another had in between is not the same term.
func (e *Election) renewed(sent time.Time, transitions int32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.until = sent.Add(leaseDuration - margin)
	if e.term != (Term{}) && e.term.transitions != transitions {
		e.end()
	}
}
