package leader

import (
	"context"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// door is the Lease as client-go's elector uses it: each renewal keeps the door of the Election open, and giving the Lease back closes it
// before others can take it. One elector uses it, from one goroutine.
type door struct {
	election *Election
	resourcelock.Interface
	// holder is who had the Lease when it was last read.
	holder string
}

// Get implements resourcelock.Interface.
func (d *door) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := d.Interface.Get(ctx)
	if err == nil {
		d.holder = record.HolderIdentity
	}
	return record, raw, err
}

// Create implements resourcelock.Interface.
func (d *door) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return d.write(ctx, record, d.Interface.Create)
}

// Update implements resourcelock.Interface.
func (d *door) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return d.write(ctx, record, d.Interface.Update)
}

func (d *door) write(ctx context.Context, record resourcelock.LeaderElectionRecord, write func(context.Context, resourcelock.LeaderElectionRecord) error) error {
	if record.HolderIdentity == "" {
		d.election.close()
		// The elector has read the Lease a moment ago, and goes by what it believed before: it would give back another's.
		if d.holder != d.Identity() {
			return ErrNotLeading
		}
	}
	sent := d.election.Now()
	err := write(ctx, record)
	if err == nil && record.HolderIdentity != "" {
		d.election.renewed(sent, int32(record.LeaderTransitions))
	}
	return err
}
