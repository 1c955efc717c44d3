package orphans

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/nodeuser"
)

// APIServer reads from the API server. It does not use a cache, which can be outdated.
type APIServer struct {
	// Client reads Nodes.
	Client corev1client.CoreV1Interface
	// As returns the client that lists the Pods of a node. Nil means that Client does.
	As func(node string) (corev1client.CoreV1Interface, error)
}

// PodsOn implements Cluster. A former node of which this program may no longer be the user has no Pods: the cluster
// deletes the Pods of Nodes that do not exist within a minute, and an orphan is older.
func (a APIServer) PodsOn(ctx context.Context, node string) (map[identity.Key]bool, error) {
	if a.As == nil {
		return listPods(ctx, a.Client, node)
	}
	client, err := a.As(node)
	if err != nil {
		return nil, err
	}
	found, err := listPods(ctx, client, node)
	if nodeuser.RefusesImpersonation(err) {
		if gone, errGone := a.Gone("")(ctx, node); errGone == nil && gone {
			return map[identity.Key]bool{}, nil
		}
	}
	return found, err
}

func listPods(
	ctx context.Context, client corev1client.PodsGetter, node string,
) (map[identity.Key]bool, error) {
	options := metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String(), Limit: pageSize,
	}
	found := map[identity.Key]bool{}
	for {
		page, err := client.Pods(metav1.NamespaceAll).List(ctx, options)
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

// Gone returns a function that reports whether the cluster no longer has a virtual node. It reports false for mine, the
// calling node, which may not be registered yet.
func (a APIServer) Gone(mine string) func(ctx context.Context, name string) (bool, error) {
	return func(ctx context.Context, name string) (bool, error) {
		if name == mine {
			return false, nil
		}
		return a.MineOrGone(mine)(ctx, name)
	}
}

// MineOrGone returns a function that selects mine, the calling node, and the nodes that the cluster no longer has.
// The other nodes manage their own cloud Pods.
func (a APIServer) MineOrGone(mine string) func(ctx context.Context, name string) (bool, error) {
	return func(ctx context.Context, name string) (bool, error) {
		if name == mine {
			return true, nil
		}
		_, err := a.Client.Nodes().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("reading node %s: %w", name, err)
		}
		return false, nil
	}
}
