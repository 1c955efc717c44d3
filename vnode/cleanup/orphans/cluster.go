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

// APIServer reads from the API server. It does not use a cache, which can be outdated.
type APIServer struct{ Client corev1client.CoreV1Interface }

// PodsOn implements Cluster.
func (a APIServer) PodsOn(ctx context.Context, node string) (map[identity.Key]bool, error) {
	options := metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String(), Limit: pageSize,
	}
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
