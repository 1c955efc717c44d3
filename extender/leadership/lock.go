package leadership

import (
	"context"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// leaseLock is the lock that client-go's elector uses. It tells the Election about each renewal, and ends the term
// before it releases the Lease. One elector uses it, from one goroutine.
type leaseLock struct {
	election *Election
	resourcelock.Interface
	// holder is who held the Lease when it was last read.
	holder string
}

// Get implements resourcelock.Interface.
func (l *leaseLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.Interface.Get(ctx)
	if err == nil {
		l.holder = record.HolderIdentity
	}
	return record, raw, err
}

// Create implements resourcelock.Interface.
func (l *leaseLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, record, l.Interface.Create)
}

// Update implements resourcelock.Interface.
func (l *leaseLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, record, l.Interface.Update)
}

func (l *leaseLock) write(
	ctx context.Context, record resourcelock.LeaderElectionRecord,
	write func(context.Context, resourcelock.LeaderElectionRecord) error,
) error {
	if record.HolderIdentity == "" {
		l.election.end()
		// When it releases the Lease, the elector has just read it but still uses the state that it observed before. Without
		// this check it could release the Lease of another holder.
		if l.holder != l.Identity() {
			return ErrNotLeading
		}
	}
	sent := l.election.Now()
	err := write(ctx, record)
	if err == nil && record.HolderIdentity != "" {
		l.election.renewed(sent, int32(record.LeaderTransitions))
	}
	return err
}
