package orphans

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/spillway-k8s/spillway/vnode/identity"
)

// API asks the API server itself: a cache may be late.
type API struct{ Client corev1client.CoreV1Interface }

// PodsOn implements Cluster.
func (a API) PodsOn(ctx context.Context, node string) (map[identity.Key]bool, error) {
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String(), Limit: pageSize}
	found := map[identity.Key]bool{}
	for {
		page, err := a.Client.Pods(metav1.NamespaceAll).List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("listing pods: %w", err)
		}
		for i := range page.Items {
			found[identity.KeyOf(&page.Items[i])] = true
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return found, nil
		}
	}
}

// Gone tells of a virtual node that the cluster does not have it, and that it is not the one that asks, which may not be registered yet.
func (a API) Gone(mine string) func(ctx context.Context, name string) (bool, error) {
	return func(ctx context.Context, name string) (bool, error) {
		if name == mine {
			return false, nil
		}
		return a.MineOrNobodys(mine)(ctx, name)
	}
}

// MineOrNobodys chooses a virtual node's own Pods and those of nodes that the cluster does not have: the others are tended by their own.
func (a API) MineOrNobodys(mine string) func(ctx context.Context, name string) (bool, error) {
	return func(ctx context.Context, name string) (bool, error) {
		if name == mine {
			return true, nil
		}
		_, err := a.Client.Nodes().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("asking for the node: %w", err)
		}
		return false, nil
	}
}
