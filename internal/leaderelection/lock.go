package leaderelection

import (
	"context"
	"errors"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// ErrNotHeld is returned instead of a request that would release or renew the Lease of another term.
var ErrNotHeld = errors.New("this process no longer holds the lease")

// Lock is the lock that client-go's elector uses. It reports each renewal with the time at which it was sent, and ends
// the term before it releases the Lease, or when it reads that another process holds it. One elector uses it, from one
// goroutine.
type Lock struct {
	resourcelock.Interface
	// Now is the clock. It must be monotonic.
	Now func() time.Time
	// Renewed is called after each renewal, and after the Lease was acquired. No other process acquires the Lease until
	// its duration has passed since sent. If the transitions have changed, another process has held the Lease in
	// between.
	Renewed func(sent time.Time, transitions int)
	// End ends the term, if there is one. It may be called again.
	End func()
	// Over reports whether the term has ended, after which the Lease is not renewed. Nil means never.
	Over func() bool

	// holder is who held the Lease when it was last read. held says that this process has acquired it.
	holder string
	held   bool
}

// Get implements resourcelock.Interface.
func (l *Lock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.Interface.Get(ctx)
	if err != nil {
		return record, raw, err
	}
	l.holder = record.HolderIdentity
	if l.held && l.holder != l.Identity() {
		l.held = false
		l.End() // The elector itself only notices when its deadline has passed.
	}
	return record, raw, nil
}

// Create implements resourcelock.Interface.
func (l *Lock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, record, l.Interface.Create)
}

// Update implements resourcelock.Interface.
func (l *Lock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, record, l.Interface.Update)
}

func (l *Lock) write(
	ctx context.Context, record resourcelock.LeaderElectionRecord,
	write func(context.Context, resourcelock.LeaderElectionRecord) error,
) error {
	if record.HolderIdentity == "" {
		l.End()
		// When it releases the Lease, the elector has just read it but still uses the state that it observed before.
		// Without this check it could release the Lease of another holder.
		if l.holder != l.Identity() {
			return ErrNotHeld
		}
	} else if l.Over != nil && l.Over() {
		return ErrNotHeld
	}
	sent := l.Now()
	err := write(ctx, record)
	if err == nil && record.HolderIdentity != "" {
		l.held = true
		l.Renewed(sent, record.LeaderTransitions)
	}
	return err
}
