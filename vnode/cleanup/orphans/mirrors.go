package orphans

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// Mirror is a copy in the cloud of an object that Pods of a virtual node referred to (see package mirror). The
// virtual node no longer exists.
type Mirror struct {
	// Mirror is what it is a copy of. Node is the virtual node.
	Mirror identity.Mirror
	Node   string
	// UID is the UID in the cloud.
	UID types.UID

	remove func(ctx context.Context, options cci.DeleteOptions) error
}

// dataPageSize is the number of ConfigMaps or Secrets in one page of a list. Lists include their contents.
const dataPageSize = 40

// FindMirrors lists the mirrors of virtual nodes that no longer exist and have no cloud Pods anymore. After an error
// nothing is known.
func (f *Finder) FindMirrors(ctx context.Context) ([]Mirror, error) {
	all, err := f.listMirrors(ctx)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	busy, err := f.nodesWithPods(ctx)
	if err != nil {
		return nil, err
	}
	gone := map[string]bool{}
	var found []Mirror
	for _, m := range all {
		if _, known := gone[m.Node]; !known {
			if gone[m.Node], err = f.isGone(ctx, m.Node); err != nil {
				return nil, err
			}
		}
		if gone[m.Node] && !busy[m.Node] {
			found = append(found, m)
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

// nodesWithPods returns the virtual nodes that have cloud Pods, terminating ones included.
func (f *Finder) nodesWithPods(ctx context.Context) (map[string]bool, error) {
	options := cci.ListOptions{LabelSelector: identity.ClusterSelector(f.ClusterID), Limit: pageSize}
	busy := map[string]bool{}
	options.Keep = func(pod *cci.Pod) bool {
		if _, owner, ok := identity.OfPod(pod); ok && owner.ClusterID == f.ClusterID {
			busy[owner.Node] = true
		}
		return false
	}
	err := cci.EachPage(options, func(options cci.ListOptions) (string, int, error) {
		page, err := f.Cloud.ListPods(ctx, f.Namespace, options)
		if err != nil {
			return "", 0, err
		}
		return page.Continue, page.Objects, nil
	})
	if err != nil {
		return nil, err
	}
	return busy, nil
}

// listMirrors lists the cluster's mirrors of all kinds, claims before their volumes.
func (f *Finder) listMirrors(ctx context.Context) ([]Mirror, error) {
	var all []Mirror
	for _, kind := range []cci.DataKind{cci.ConfigMap, cci.Secret} {
		options := cci.ListOptions{LabelSelector: identity.ClusterSelector(f.ClusterID), Limit: dataPageSize}
		err := cci.EachPage(options, func(options cci.ListOptions) (string, int, error) {
			page, err := f.Cloud.ListData(ctx, f.Namespace, kind, options)
			if err != nil {
				return "", 0, err
			}
			for i := range page.Items {
				name := page.Items[i].Name
				remove := func(ctx context.Context, options cci.DeleteOptions) error {
					return f.Cloud.DeleteData(ctx, f.Namespace, kind, name, options)
				}
				all = f.appendMirror(all, &page.Items[i].ObjectMeta, remove)
			}
			return page.Continue, page.Objects, nil
		})
		if err != nil {
			return nil, err
		}
	}
	storage, err := f.listStorage(ctx)
	return append(all, storage...), err
}

// listStorage lists the mirrors of claims and their volumes. It returns none if the region has no volumes.
func (f *Finder) listStorage(ctx context.Context) ([]Mirror, error) {
	options := cci.ListOptions{LabelSelector: identity.ClusterSelector(f.ClusterID), Limit: pageSize}
	claims, err := f.Cloud.ListClaims(ctx, f.Namespace, options)
	var volumes []cci.PersistentVolume
	if err == nil {
		volumes, err = f.Cloud.ListVolumes(ctx, options)
	}
	if cci.IsNotOffered(err) && !cci.IsProvenNotOffered(err) && f.Unsure != nil {
		f.Unsure(err)
	}
	if cci.IsNotOffered(err) || cci.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Mirror
	for i := range claims {
		name := claims[i].Name
		remove := func(ctx context.Context, options cci.DeleteOptions) error {
			return f.Cloud.DeleteClaim(ctx, f.Namespace, name, options)
		}
		all = f.appendMirror(all, &claims[i].ObjectMeta, remove)
	}
	for i := range volumes {
		name := volumes[i].Name
		remove := func(ctx context.Context, options cci.DeleteOptions) error {
			return f.Cloud.DeleteVolume(ctx, name, options)
		}
		all = f.appendMirror(all, &volumes[i].ObjectMeta, remove)
	}
	return all, nil
}

func (f *Finder) appendMirror(
	all []Mirror, meta *metav1.ObjectMeta, remove func(context.Context, cci.DeleteOptions) error,
) []Mirror {
	mirror, owner, ok := identity.OfMirror(meta)
	if !ok || owner.ClusterID != f.ClusterID {
		return all
	}
	return append(all, Mirror{Mirror: mirror, Node: owner.Node, UID: meta.UID, remove: remove})
}

// DeleteMirror deletes a mirror. The UID ensures that a newer object of the same name is kept. It may be called again.
func (f *Finder) DeleteMirror(ctx context.Context, m Mirror) error {
	err := m.remove(ctx, cci.DeleteOptions{UID: m.UID})
	if cci.IsNotFound(err) || cci.IsConflict(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("deleting the copy of %s of node %s: %w", m.Mirror, m.Node, err)
	}
	return nil
}
