package cleanup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cleanup/orphans"
	"github.com/spillway-k8s/spillway/vnode/cloudnamespace"
)

// poll is the time between two checks whether something is gone.
const poll = time.Second

// cloudCleaner deletes what a cluster left in the cloud, for "vnode gc" and "vnode uninstall".
type cloudCleaner struct {
	finder *orphans.Finder
	// minAge skips cloud Pods that are younger.
	minAge time.Duration
	// dryRun deletes nothing.
	dryRun bool
	// namespace deletes the cloud namespace too, if the cluster created it and no one else uses it.
	namespace bool
	// poll is the time between two checks whether something is gone.
	poll time.Duration
	now  func() time.Time
	out  io.Writer
}

// clean deletes what it finds and returns when it is gone. It fails when ctx ends, or at the first step that fails.
func (c *cloudCleaner) clean(ctx context.Context) error {
	all, err := c.finder.Find(ctx)
	if cci.IsNotFound(err) {
		fmt.Fprintf(c.out, "Cloud namespace %s does not exist: there is nothing to delete.\n", c.finder.Namespace)
		return nil
	}
	if err != nil {
		return fmt.Errorf("finding orphans: %w", err)
	}
	var old []orphans.Orphan
	for _, o := range all {
		if o.Age(c.now()) >= c.minAge {
			old = append(old, o)
		}
	}
	skipped := len(all) - len(old)
	c.print(old, skipped)
	if err := c.deletePods(ctx, old); err != nil {
		return err
	}
	if err := errors.Join(c.deleteMirrors(ctx), c.deleteSnapshots(ctx)); err != nil || !c.namespace {
		return err
	}
	if skipped > 0 {
		fmt.Fprintf(c.out, "Cloud namespace %s is kept for the Pods that were skipped.\n", c.finder.Namespace)
		return nil
	}
	return c.deleteNamespace(ctx)
}

// deletePods deletes orphans, and returns when they are gone.
func (c *cloudCleaner) deletePods(ctx context.Context, old []orphans.Orphan) error {
	if c.dryRun || len(old) == 0 {
		return nil
	}
	var errs []error
	for _, o := range old {
		errs = append(errs, c.finder.Delete(ctx, o))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("deleting orphans: %w", err)
	}
	return c.awaitGone(ctx, old)
}

// awaitGone returns when the orphans are gone.
func (c *cloudCleaner) awaitGone(ctx context.Context, deleted []orphans.Orphan) error {
	left := map[types.UID]string{}
	for _, o := range deleted {
		left[o.Cloud.UID] = o.Cloud.Name
	}
	for {
		for uid, name := range left {
			pod, err := c.finder.Cloud.GetPod(ctx, c.finder.Namespace, name)
			if cci.IsNotFound(err) || err == nil && pod.UID != uid {
				delete(left, uid)
			}
		}
		if len(left) == 0 {
			fmt.Fprintln(c.out, "All of them are gone.")
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %d cloud Pods are gone: %w; run the command again", len(left), ctx.Err())
		case <-time.After(c.poll):
		}
	}
}

// deleteMirrors deletes what virtual nodes that no longer exist have copied. Their Pods are gone by then.
func (c *cloudCleaner) deleteMirrors(ctx context.Context) error {
	c.finder.Unsure = func(err error) {
		fmt.Fprintf(c.out, "Copies of claims were not looked for: %v. If Pods with claims have run there, run the command "+
			"again later.\n", err)
	}
	found, err := c.finder.FindMirrors(ctx)
	if err != nil {
		return fmt.Errorf("finding copies of deleted virtual nodes: %w", err)
	}
	var errs []error
	for _, m := range found {
		if !c.dryRun {
			errs = append(errs, c.finder.DeleteMirror(ctx, m))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("deleting copies of deleted virtual nodes: %w", err)
	}
	fmt.Fprintf(c.out, "%d copies of ConfigMaps, Secrets and claims of former virtual nodes %s.\n",
		len(found), c.deleted())
	return nil
}

// deleteSnapshots deletes the image snapshots of virtual nodes that no longer exist, and returns when they are gone:
// the Pod that makes one is in the cloud namespace.
func (c *cloudCleaner) deleteSnapshots(ctx context.Context) error {
	found, err := c.finder.FindSnapshots(ctx)
	if cci.IsDenied(err) { // Few accounts use snapshots, and the cloud deletes what is left of them.
		fmt.Fprintf(c.out, "Image snapshots were not looked for: %v.\n", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("finding image snapshots of deleted virtual nodes: %w", err)
	}
	if len(found) == 0 {
		return nil
	}
	if !c.dryRun {
		var errs []error
		for i := range found {
			errs = append(errs, c.finder.DeleteSnapshot(ctx, &found[i]))
		}
		err := errors.Join(errs...)
		if err == nil {
			err = c.awaitSnapshotsGone(ctx, found)
		}
		if err != nil {
			return fmt.Errorf("deleting image snapshots of deleted virtual nodes: %w", err)
		}
	}
	fmt.Fprintf(c.out, "%d image snapshots of former virtual nodes %s.\n", len(found), c.deleted())
	return nil
}

// awaitSnapshotsGone returns when image snapshots are gone.
func (c *cloudCleaner) awaitSnapshotsGone(ctx context.Context, deleted []cci.ImageSnapshot) error {
	for _, snapshot := range deleted {
		for {
			left, err := c.finder.Cloud.GetSnapshot(ctx, snapshot.Name)
			if cci.IsNotFound(err) || err == nil && left.UID != snapshot.UID {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("waiting until image snapshot %s is gone: %w; run the command again", snapshot.Name, ctx.Err())
			case <-time.After(c.poll):
			}
		}
	}
	return nil
}

// deleteNamespace deletes the cloud namespace, or prints why it is kept.
func (c *cloudCleaner) deleteNamespace(ctx context.Context) error {
	kept, err := cloudnamespace.Remove(ctx, c.finder.Cloud, cloudnamespace.Removal{
		Namespace: c.finder.Namespace, ClusterID: c.finder.ClusterID, DryRun: c.dryRun, Poll: c.poll,
	})
	if err != nil {
		return fmt.Errorf("deleting the cloud namespace: %w", err)
	}
	if kept != "" {
		fmt.Fprintf(c.out, "Cloud namespace %s is kept: %s.\n", c.finder.Namespace, kept)
		return nil
	}
	fmt.Fprintf(c.out, "Cloud namespace %s %s.\n", c.finder.Namespace, c.deleted())
	return nil
}

// deleted says what happened to objects: a dry run only finds them.
func (c *cloudCleaner) deleted() string {
	if c.dryRun {
		return "found; nothing is deleted in a dry run"
	}
	return "deleted"
}

func (c *cloudCleaner) print(old []orphans.Orphan, young int) {
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	if len(old) > 0 {
		fmt.Fprintln(table, "CLOUD POD\tNODE\tNAMESPACE\tPOD\tPHASE\tAGE")
	}
	for _, o := range old {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", o.Cloud.Name, o.Node, o.Key.Namespace, o.Key.Name,
			o.Cloud.Status.Phase, o.Age(c.now()).Round(time.Second))
	}
	_ = table.Flush() // If the output is closed, no one reads it.
	fmt.Fprintf(c.out, "%d cloud Pods of cluster %s without a Pod %s; %d younger than %s skipped.\n",
		len(old), c.finder.ClusterID, c.deleted(), young, c.minAge)
}
