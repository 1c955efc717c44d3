package orphans

import (
	"context"
	"fmt"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// FindSnapshots lists the image snapshots (package snapshots) of virtual nodes that no longer exist. It returns none if
// the region offers none. After an error nothing is known.
func (f *Finder) FindSnapshots(ctx context.Context) ([]cci.ImageSnapshot, error) {
	if !f.Snapshots {
		return nil, nil
	}
	options := cci.ListOptions{LabelSelector: identity.ClusterSelector(f.ClusterID), Limit: pageSize}
	all, err := f.Cloud.ListSnapshots(ctx, options)
	if cci.IsNotOffered(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []cci.ImageSnapshot
	for _, snapshot := range all {
		owner, ok := identity.OfSnapshot(&snapshot)
		if !ok || owner.ClusterID != f.ClusterID || (!f.Terminating && snapshot.DeletionTimestamp != nil) {
			continue
		}
		gone, err := f.isGone(ctx, owner.Node)
		if err != nil {
			return nil, err
		}
		if gone {
			found = append(found, snapshot)
		}
	}
	return found, nil
}

// DeleteSnapshot requests the deletion of an image snapshot. The UID ensures that a newer one of the same name is kept.
// It may be called again.
func (f *Finder) DeleteSnapshot(ctx context.Context, snapshot *cci.ImageSnapshot) error {
	err := f.Cloud.DeleteSnapshot(ctx, snapshot.Name, cci.DeleteOptions{UID: snapshot.UID})
	if err != nil && !cci.IsNotFound(err) && !cci.IsConflict(err) {
		return fmt.Errorf("deleting the image snapshot of %s: %w", snapshot.Spec.Images[0].Image, err)
	}
	return nil
}
