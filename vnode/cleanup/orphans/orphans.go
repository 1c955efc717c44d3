// Package orphans finds and deletes orphans: cloud Pods of a cluster that no longer have a Pod, which would run and
// be billed without use. A virtual node deletes its own cloud Pods as soon as their Pods are gone. This package is
// the safety net: it covers events that watches missed, and nodes that no longer exist.
//
// It also deletes the mirrors (package mirror), the probes (package soldout) and the image snapshots (package
// snapshots) of virtual nodes that no longer exist. Each existing node manages its own.
//
// An error or an incomplete list never makes a cloud Pod an orphan, nor does another cluster, nor a single comparison.
package orphans

import (
	"context"
	"fmt"
	"time"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// pageSize is the number of Pods in one page of a list.
const pageSize = 500

// Orphan is a cloud Pod without a Pod.
type Orphan struct {
	// Key identifies the Pod that it stood for. Node is its virtual node. A probe of package soldout stands for no Pod.
	Key  identity.Key
	Node string
	// Cloud is the cloud Pod, without its spec, labels and annotations.
	Cloud *cci.Pod
}

// probeKey stands for a probe, which has no Pod in the cluster. No Pod has this key.
var probeKey = identity.Key{Name: "(probe)"}

func (o Orphan) isProbe() bool { return o.Key == probeKey }

// Cluster lists the Pods of the cluster. Its answers must be complete, and not older than the call.
type Cluster interface {
	// PodsOn returns the Pods that are bound to a node.
	PodsOn(ctx context.Context, node string) (map[identity.Key]bool, error)
}

// Finder finds the orphans of one cluster in one cloud namespace.
type Finder struct {
	Cloud     cci.API
	Namespace string
	ClusterID string
	// Nodes selects the virtual nodes whose cloud Pods are compared. Nil selects all.
	Nodes func(ctx context.Context, name string) (bool, error)
	// Gone reports whether a virtual node no longer exists, so that it no longer manages its mirrors and its probe. Nil
	// means that no virtual node exists.
	Gone func(ctx context.Context, name string) (bool, error)
	// Cluster is nil if the cluster no longer exists. Then all its cloud Pods are orphans.
	Cluster Cluster
	// Terminating includes orphans that are already being deleted.
	Terminating bool
	// Unsure is called with the answer if the service answers 404 for claims or volumes, and does not say that the region
	// has none: mirrors of claims are not found then. Nil means no call.
	Unsure func(error)
	// Snapshots also finds image snapshots. CCI 1.0 has none.
	Snapshots bool
}

// Find lists the orphans. It lists the cloud before the cluster, because a Pod is always in the cluster before it is
// in the cloud. After an error nothing is known.
func (f *Finder) Find(ctx context.Context) ([]Orphan, error) {
	candidates, err := f.list(ctx)
	if err != nil {
		return nil, err
	}
	var found []Orphan
	existing := map[string]map[identity.Key]bool{}
	for _, c := range candidates {
		if c.isProbe() {
			gone, err := f.isGone(ctx, c.Node)
			if err != nil {
				return nil, err
			}
			if gone {
				found = append(found, c)
			}
			continue
		}
		pods, listed := existing[c.Node]
		if !listed {
			if pods, err = f.podsOn(ctx, c.Node); err != nil {
				return nil, fmt.Errorf("listing the pods of node %s: %w", c.Node, err)
			}
			existing[c.Node] = pods
		}
		if pods != nil && !pods[c.Key] {
			found = append(found, c)
		}
	}
	return found, nil
}

// podsOn returns the Pods of a node, or nil if the node is not selected.
func (f *Finder) podsOn(ctx context.Context, node string) (map[identity.Key]bool, error) {
	if f.Nodes != nil {
		if selected, err := f.Nodes(ctx, node); err != nil || !selected {
			return nil, err
		}
	}
	none := map[identity.Key]bool{}
	if f.Cluster == nil {
		return none, nil
	}
	pods, err := f.Cluster.PodsOn(ctx, node)
	if err == nil && pods == nil {
		pods = none
	}
	return pods, err
}

// list returns all cloud Pods of the cluster.
func (f *Finder) list(ctx context.Context) ([]Orphan, error) {
	options := cci.ListOptions{LabelSelector: identity.ClusterSelector(f.ClusterID), Limit: pageSize}
	options.Keep = func(pod *cci.Pod) bool {
		pod.Spec, pod.ManagedFields = cci.PodSpec{}, nil
		_, _, ok := f.ours(pod)
		return ok && (f.Terminating || pod.DeletionTimestamp == nil)
	}
	var all []Orphan
	err := cci.EachPage(options, func(options cci.ListOptions) (string, int, error) {
		page, err := f.Cloud.ListPods(ctx, f.Namespace, options)
		if err != nil {
			return "", 0, err
		}
		for i := range page.Items {
			pod := &page.Items[i]
			key, owner, _ := f.ours(pod)
			pod.Annotations, pod.Labels = nil, nil // Those of users can be large.
			all = append(all, Orphan{Key: key, Node: owner.Node, Cloud: pod})
		}
		return page.Continue, page.Objects, nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// ours reads which Pod of the cluster a cloud Pod stands for. The annotations are checked because the service might
// ignore the selector: Pods of others must never be deleted.
func (f *Finder) ours(pod *cci.Pod) (identity.Key, identity.Owner, bool) {
	key, owner, ok := identity.OfPod(pod)
	if !ok {
		owner, ok = identity.OfProbe(pod)
		key = probeKey
	}
	return key, owner, ok && owner.ClusterID == f.ClusterID
}

// Delete requests the deletion of an orphan. The UID ensures that a newer cloud Pod of the same name is kept. Delete
// returns before the cloud Pod is gone, and may be called again.
func (f *Finder) Delete(ctx context.Context, o Orphan) error {
	options := cci.DeleteOptions{UID: o.Cloud.UID, GraceSeconds: new(cci.EndedGraceSeconds)}
	err := f.Cloud.DeletePod(ctx, f.Namespace, o.Cloud.Name, options)
	if cci.IsNotFound(err) || cci.IsConflict(err) {
		return nil
	}
	return err
}

// Age returns the time since the cloud Pod was created: now is our clock, the creation is the cloud's.
func (o Orphan) Age(now time.Time) time.Duration { return now.Sub(o.Cloud.CreationTimestamp.Time) }
