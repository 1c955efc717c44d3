// Package orphans finds cloud Pods of a cluster that stand for none of its Pods, and ends them: they would run, and be billed, for nobody. A
// virtual node ends its own as soon as their Pods are gone; here is the net below that, for what the watches missed and for nodes that are
// no more.
//
// It also removes the copies (package mirror's) of virtual nodes that are no more: each node tends its own for as long as it is there.
//
// Nothing is an orphan by an error or an incomplete list, by the word of another cluster's Pods, or at first sight.
package orphans

import (
	"context"
	"fmt"
	"time"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// pageSize is how many Pods a list takes at once.
const pageSize = 500

// Orphan is a cloud Pod without a Pod.
type Orphan struct {
	// Key is the Pod that it stood for, Node the virtual node.
	Key  identity.Key
	Node string
	// Cloud is the cloud Pod. It has no spec.
	Cloud *cci.Pod
}

// Cluster is asked which Pods there are. Its answers must be complete, and as new as the question.
type Cluster interface {
	// PodsOn returns the Pods that are bound to a node.
	PodsOn(ctx context.Context, node string) (map[identity.Key]bool, error)
}

// Finder finds the orphans of one cluster in one namespace of the cloud.
type Finder struct {
	Cloud     cci.API
	Namespace string
	ClusterID string
	// Nodes chooses the virtual nodes whose cloud Pods are looked at; nil for all.
	Nodes func(ctx context.Context, name string) (bool, error)
	// Gone tells that a virtual node is no more, so that nobody tends its copies; nil where all are gone.
	Gone func(ctx context.Context, name string) (bool, error)
	// Cluster is nil when the cluster is no more: then all its cloud Pods are orphans.
	Cluster Cluster
	// Ending has those found too that are being deleted already.
	Ending bool
}

// Find lists the orphans. It asks the cloud first and the cluster then: a Pod is always in the cluster before it is in the cloud. An error
// means that nothing is known.
func (f *Finder) Find(ctx context.Context) ([]Orphan, error) {
	candidates, err := f.list(ctx)
	if err != nil {
		return nil, err
	}
	var found []Orphan
	alive := map[string]map[identity.Key]bool{}
	for _, c := range candidates {
		pods, asked := alive[c.Node]
		if !asked {
			if pods, err = f.podsOn(ctx, c.Node); err != nil {
				return nil, fmt.Errorf("asking for the pods of node %s: %w", c.Node, err)
			}
			alive[c.Node] = pods
		}
		if pods != nil && !pods[c.Key] {
			found = append(found, c)
		}
	}
	return found, nil
}

// podsOn returns the Pods of a node, nil for a node that is not looked at.
func (f *Finder) podsOn(ctx context.Context, node string) (map[identity.Key]bool, error) {
	if f.Nodes != nil {
		if chosen, err := f.Nodes(ctx, node); err != nil || !chosen {
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

// list takes all pages of the cluster's cloud Pods.
func (f *Finder) list(ctx context.Context) ([]Orphan, error) {
	options := cci.ListOptions{LabelSelector: identity.ClusterSelector(f.ClusterID), Limit: pageSize}
	var all []Orphan
	for {
		page, err := f.Cloud.ListPods(ctx, f.Namespace, options)
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			pod := &page.Items[i]
			// The annotations are the identity: a service that ignores the selector must not cost other people's Pods.
			key, owner, ok := identity.OfPod(pod)
			if ok && owner.ClusterID == f.ClusterID && (f.Ending || pod.DeletionTimestamp == nil) {
				pod.Spec = cci.PodSpec{}
				all = append(all, Orphan{Key: key, Node: owner.Node, Cloud: pod})
			}
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return all, nil
		}
	}
}

// End asks the cloud to end an orphan, and nobody else: a cloud Pod that was made again under its name is another one. It returns before
// the Pod is gone and may be called again.
func (f *Finder) End(ctx context.Context, o Orphan) error {
	err := f.Cloud.DeletePod(ctx, f.Namespace, o.Cloud.Name, cci.DeleteOptions{UID: o.Cloud.UID})
	if cci.IsNotFound(err) || cci.IsConflict(err) {
		return nil
	}
	return err
}

// Age is how long ago the cloud made it, by the cloud's clock for its making and ours for now.
func (o Orphan) Age(now time.Time) time.Duration { return now.Sub(o.Cloud.CreationTimestamp.Time) }
