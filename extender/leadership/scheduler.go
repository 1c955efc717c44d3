package leadership

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/spillway-k8s/spillway/extender/slowcall"
)

const (
	// trusted is how long a read of the Lease counts as current before a decision is made. Exactness does not depend on
	// it: VerifyTerm always reads the Lease.
	trusted = time.Second
	// entryWait is how long an answer waits until the current term is read and has settled.
	entryWait = 500 * time.Millisecond
)

// Scheduler is the leadership of an extender that serves one scheduler, in the same Pod. The schedulers elect their
// leader themselves. The extender answers whenever it receives a request, and what it makes durable belongs to the term
// of its scheduler.
type Scheduler struct {
	// read returns the current term of the scheduler, zero if another scheduler leads. It may block for one API call.
	read func(context.Context) (Term, error)
	now  func() time.Time

	entries slowcall.Limiter[Term]

	mu sync.Mutex
	// settle is nil until Run.
	settle func(context.Context) error
	// settled is the last term in which this extender knows the slots of all earlier terms.
	settled Term
	// seen is when settled was last read as the current term.
	seen time.Time
}

func newScheduler(read func(context.Context) (Term, error), now func() time.Time) *Scheduler {
	return &Scheduler{
		read: read, now: now, entries: slowcall.Limiter[Term]{Wait: entryWait, Timeout: settleTimeout},
	}
}

// NewSingleScheduler returns the leadership for a scheduler that does not elect a leader because there is no other one.
// There is one term, which lasts as long as this process. It settles at the first request about a quota. now is the
// clock, which must be monotonic.
func NewSingleScheduler(now func() time.Time) *Scheduler {
	return newScheduler(func(context.Context) (Term, error) { return Term{lease: "none"}, nil }, now)
}

// SchedulerLease is the Lease with which the schedulers elect their leader.
type SchedulerLease struct{ Namespace, Name string }

// NewScheduler returns the leadership for a scheduler that takes part in a leader election. The identity of a
// kube-scheduler in its Lease is the name of its host, "_" and a UID (cmd/kube-scheduler/app/options/options.go). host
// is the name of this process's host, which is that of the scheduler if they share a Pod.
func NewScheduler(
	client kubernetes.Interface, lease SchedulerLease, host string, now func() time.Time,
) *Scheduler {
	return newScheduler(func(ctx context.Context) (Term, error) {
		read, err := client.CoordinationV1().Leases(lease.Namespace).Get(ctx, lease.Name, metav1.GetOptions{})
		if err != nil {
			return Term{}, fmt.Errorf("reading lease %s/%s of the scheduler: %w", lease.Namespace, lease.Name, err)
		}
		if !strings.HasPrefix(ptr.Deref(read.Spec.HolderIdentity, ""), host+"_") {
			return Term{}, nil
		}
		return termOf(read), nil
	}, now)
}

// Run lets this process answer until ctx ends. Settle is called at the first request about a quota in each term.
// It blocks.
func (s *Scheduler) Run(ctx context.Context, callbacks Callbacks) error {
	s.mu.Lock()
	s.settle = callbacks.Settle
	s.mu.Unlock()
	callbacks.StartedLeading()
	<-ctx.Done()
	return nil
}

// Ready implements placement.Leadership. After Run has started, this extender answers every request of its scheduler.
func (s *Scheduler) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.settle == nil {
		return errStarting
	}
	return nil
}

// CurrentTerm implements placement.Leadership. It returns the term as of at most one second ago, settled. If the API
// server does not answer, it returns the last term that has settled.
func (s *Scheduler) CurrentTerm(ctx context.Context) (Term, error) {
	if err := s.Ready(); err != nil {
		return Term{}, err
	}
	settled, isCurrent := s.last()
	if isCurrent {
		return settled, nil
	}
	term, err := s.entries.Do(ctx, "term", s.enter)
	switch {
	case err == nil || errors.Is(err, ErrOtherScheduler):
		return term, err
	case settled != Term{}: // This is safe: no slot is given before VerifyTerm has verified the term.
		return settled, nil
	}
	return Term{}, fmt.Errorf("reading the slots of earlier terms: %w", err)
}

// last returns the last term that has settled, and whether it was read as the current one less than a second ago.
func (s *Scheduler) last() (term Term, isCurrent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settled, s.settled != Term{} && s.now().Sub(s.seen) < trusted
}

// enter reads the current term, and settles it unless it has settled before.
func (s *Scheduler) enter(ctx context.Context) (Term, error) {
	term, err := s.read(ctx)
	if err != nil {
		return Term{}, err
	}
	if term == (Term{}) {
		return Term{}, ErrOtherScheduler
	}
	s.mu.Lock()
	settle, settled := s.settle, s.settled
	s.mu.Unlock()
	if settled != term {
		if err := settle(ctx); err != nil {
			return Term{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled, s.seen = term, s.now()
	return term, nil
}

// VerifyTerm implements placement.Leadership. It reads the Lease, and does not share a read that began before the call.
// If a new term has begun, it settles that term and returns ErrNewTerm.
func (s *Scheduler) VerifyTerm(ctx context.Context, term Term) error {
	current, err := s.read(ctx)
	switch {
	case err != nil:
		return err
	case current == Term{}:
		return ErrOtherScheduler
	case current == term:
		return nil
	}
	if _, err := s.entries.Do(ctx, "term", s.enter); err != nil {
		return fmt.Errorf("reading the slots of earlier terms: %w", err)
	}
	return ErrNewTerm
}
