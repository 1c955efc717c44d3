package leader

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

	"github.com/spillway-k8s/spillway/extender/calls"
)

var (
	// ErrNewTerm says that a term has begun, and that this process knows by now what was made durable in earlier ones: what it decided before it knew
	// must be decided again.
	ErrNewTerm = errors.New("the scheduler beside this extender has just begun to lead; it is known by now what was decided before")
	// ErrOtherScheduler says that the scheduler that is asking leads no longer.
	ErrOtherScheduler = errors.New("another scheduler leads, and not the one beside this extender")
)

const (
	// trusted is how long a reading of the Lease is trusted to say who leads, before anything is made durable. Exactness does not build on
	// it: Confirm always reads.
	trusted = time.Second
	// slowEntry is how long an answer waits until the present term is read and settled.
	slowEntry = 500 * time.Millisecond
)

// Beside is the leadership of an extender that is asked by the one scheduler beside it, which elects its leader itself: the extender answers
// whenever it is asked, and what it makes durable counts in the term of its scheduler.
type Beside struct {
	// read is the present term of the scheduler beside, zero where another scheduler leads. It may block for one API call.
	read   func(context.Context) (Term, error)
	settle func(context.Context) error
	now    func() time.Time

	entries calls.Calls[Term]

	mu sync.Mutex
	// settled is the last term that has settled, and seen when it was last read to be on.
	settled Term
	seen    time.Time
}

func newBeside(read func(context.Context) (Term, error), settle func(context.Context) error, now func() time.Time) *Beside {
	return &Beside{read: read, settle: settle, now: now, entries: calls.Calls[Term]{Wait: slowEntry, Timeout: settleTime}}
}

// NewAlone makes the leadership beside a scheduler that has no other: one term, for as long as this process lives. settle is called with the first
// question about a quota, and again after an error; it returns when this process knows what was made durable before, and may block. now is the
// clock, which must not go back.
func NewAlone(settle func(context.Context) error, now func() time.Time) *Beside {
	return newBeside(func(context.Context) (Term, error) { return Term{lease: "none"}, nil }, settle, now)
}

// SchedulerLease is the Lease by which kube-scheduler elects its leader.
type SchedulerLease struct{ Namespace, Name string }

// NewBeside makes the leadership beside a scheduler that elects its leader by a Lease. Its identity there is the name of its host, "_" and a UID
// (cmd/kube-scheduler/app/options/options.go). settle is called in each term, as by NewAlone.
func NewBeside(client kubernetes.Interface, lease SchedulerLease, host string, settle func(context.Context) error, now func() time.Time) *Beside {
	read := func(ctx context.Context) (Term, error) {
		read, err := client.CoordinationV1().Leases(lease.Namespace).Get(ctx, lease.Name, metav1.GetOptions{})
		if err != nil {
			return Term{}, fmt.Errorf("reading the lease %s/%s of the scheduler: %w", lease.Namespace, lease.Name, err)
		}
		if !strings.HasPrefix(ptr.Deref(read.Spec.HolderIdentity, ""), host+"_") {
			return Term{}, nil
		}
		return termOf(read), nil
	}
	return newBeside(read, settle, now)
}

// Ready implements placement.Leadership: it stands beside one scheduler and answers it always.
func (b *Beside) Ready() error { return nil }

// Enter implements placement.Leadership: it is the present term as of a second ago at most, settled. Where the API server does not say it, it is the last
// that has settled.
func (b *Beside) Enter(ctx context.Context) (Term, error) {
	settled, isOn := b.last()
	if isOn {
		return settled, nil
	}
	term, err := b.entries.Do(ctx, "term", b.enter)
	switch {
	case err == nil || errors.Is(err, ErrOtherScheduler):
		return term, err
	case settled != Term{}: // Nothing is given away that Confirm does not confirm.
		return settled, nil
	}
	return Term{}, fmt.Errorf("reading what was decided before: %w", err)
}

// last is the last term that has settled, and whether it was seen to be on a moment ago.
func (b *Beside) last() (term Term, isOn bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.settled, b.settled != Term{} && b.now().Sub(b.seen) < trusted
}

// enter reads the present term, and settles it unless it has settled before.
func (b *Beside) enter(ctx context.Context) (Term, error) {
	term, err := b.read(ctx)
	if err != nil {
		return Term{}, err
	}
	if term == (Term{}) {
		return Term{}, ErrOtherScheduler
	}
	if settled, _ := b.last(); settled != term {
		if err := b.settle(ctx); err != nil {
			return Term{}, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settled, b.seen = term, b.now()
	return term, nil
}

// Confirm implements placement.Leadership. It reads the Lease, and joins in no reading that began before. Where another term has begun, it enters that and
// returns ErrNewTerm.
func (b *Beside) Confirm(ctx context.Context, term Term) error {
	present, err := b.read(ctx)
	switch {
	case err != nil:
		return err
	case present == Term{}:
		return ErrOtherScheduler
	case present == term:
		return nil
	}
	if _, err := b.entries.Do(ctx, "term", b.enter); err != nil {
		return fmt.Errorf("reading what was decided before: %w", err)
	}
	return ErrNewTerm
}
