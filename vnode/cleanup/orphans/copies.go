package orphans

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// Copy is a copy of something that Pods of a virtual node referred to (see package mirror) when the virtual node is no more.
type Copy struct {
	// Mirror is what it is a copy of, Node the virtual node.
	Mirror identity.Mirror
	Node   string
	// UID is the cloud's.
	UID types.UID

	remove func(ctx context.Context, options cci.DeleteOptions) error
}

// copiesPage is how many copies a list takes at once: they come with what they hold.
const copiesPage = 40

// FindCopies lists the copies of virtual nodes that are no more, and of which the cloud has no Pod any more either. An error means that
// nothing is known.
func (f *Finder) FindCopies(ctx context.Context) ([]Copy, error) {
	all, err := f.listCopies(ctx)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	busy, err := f.nodesWithPods(ctx)
	if err != nil {
		return nil, err
	}
	gone := map[string]bool{}
	var found []Copy
	for _, c := range all {
		if _, asked := gone[c.Node]; !asked {
			if gone[c.Node], err = f.isGone(ctx, c.Node); err != nil {
				return nil, err
			}
		}
		if gone[c.Node] && !busy[c.Node] {
			found = append(found, c)
		}
	}
	return found, nil
}

func (f *Finder) isGone(ctx context.Context, node string) (bool, error) {
	if f.Gone == nil {
		return true, nil
	}
	return f.Gone(ctx, node)
}

// nodesWithPods are the virtual nodes that have cloud Pods, those that end among them.
func (f *Finder) nodesWithPods(ctx context.Context) (map[string]bool, error) {
	options := cci.ListOptions{LabelSelector: identity.ClusterSelector(f.ClusterID), Limit: pageSize}
	busy := map[string]bool{}
	for {
		page, err := f.Cloud.ListPods(ctx, f.Namespace, options)
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			if _, owner, ok := identity.OfPod(&page.Items[i]); ok && owner.ClusterID == f.ClusterID {
				busy[owner.Node] = true
			}
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return busy, nil
		}
	}
}

// listCopies lists the cluster's copies of all kinds, claims before their volumes.
func (f *Finder) listCopies(ctx context.Context) ([]Copy, error) {
	var all []Copy
	for _, kind := range []cci.DataKind{cci.ConfigMap, cci.Secret} {
		options := cci.ListOptions{LabelSelector: identity.ClusterSelector(f.ClusterID), Limit: copiesPage}
		for {
			page, err := f.Cloud.ListData(ctx, f.Namespace, kind, options)
			if err != nil {
				return nil, err
			}
			for i := range page.Items {
				name := page.Items[i].Name
				all = f.appendCopy(all, &page.Items[i].ObjectMeta, func(ctx context.Context, options cci.DeleteOptions) error {
					return f.Cloud.DeleteData(ctx, f.Namespace, kind, name, options)
				})
			}
			if options.Continue = page.Continue; options.Continue == "" {
				break
			}
		}
	}
	storage, err := f.listStorage(ctx)
	return append(all, storage...), err
}

// listStorage lists nothing where the region has no volumes.
func (f *Finder) listStorage(ctx context.Context) ([]Copy, error) {
	options := cci.ListOptions{LabelSelector: identity.ClusterSelector(f.ClusterID), Limit: pageSize}
	claims, err := f.Cloud.ListClaims(ctx, f.Namespace, options)
	if fault, is := errors.AsType[*cci.Error](err); is && fault.Status == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	volumes, err := f.Cloud.ListVolumes(ctx, options)
	if err != nil {
		return nil, err
	}
	var all []Copy
	for i := range claims {
		name := claims[i].Name
		all = f.appendCopy(all, &claims[i].ObjectMeta, func(ctx context.Context, options cci.DeleteOptions) error {
			return f.Cloud.DeleteClaim(ctx, f.Namespace, name, options)
		})
	}
	for i := range volumes {
		name := volumes[i].Name
		all = f.appendCopy(all, &volumes[i].ObjectMeta, func(ctx context.Context, options cci.DeleteOptions) error {
			return f.Cloud.DeleteVolume(ctx, name, options)
		})
	}
	return all, nil
}

func (f *Finder) appendCopy(all []Copy, meta *metav1.ObjectMeta, remove func(context.Context, cci.DeleteOptions) error) []Copy {
	mirror, owner, ok := identity.OfMirror(meta)
	if !ok || owner.ClusterID != f.ClusterID {
		return all
	}
	return append(all, Copy{Mirror: mirror, Node: owner.Node, UID: meta.UID, remove: remove})
}

// Remove takes a copy out of the cloud, and no other of its name. It may be called again.
func (f *Finder) Remove(ctx context.Context, c Copy) error {
	err := c.remove(ctx, cci.DeleteOptions{UID: c.UID})
	if cci.IsNotFound(err) || cci.IsConflict(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing the copy of %s of node %s: %w", c.Mirror, c.Node, err)
	}
	return nil
}
