package node

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/spillway-k8s/spillway/vnode/nodeuser"
)

// completion is the client of the Node for virtual-kubelet. A node may not set all of its own labels: another user,
// account, sets those that are reserved. A Node is created without them. Until it has them, it is not a virtual node
// for others.
type completion struct {
	corev1client.NodeInterface
	account  corev1client.NodeInterface
	reserved map[string]string
}

// newCompletion returns the client. labels are all labels of the Node.
func newCompletion(node, account corev1client.NodeInterface, labels map[string]string) completion {
	reserved := map[string]string{}
	for key, value := range labels {
		if !nodeuser.MaySetLabel(key) {
			reserved[key] = value
		}
	}
	return completion{NodeInterface: node, account: account, reserved: reserved}
}

// Create creates the Node and completes it.
func (c completion) Create(
	ctx context.Context, wanted *corev1.Node, options metav1.CreateOptions,
) (*corev1.Node, error) {
	first := wanted.DeepCopy()
	for key := range c.reserved {
		delete(first.Labels, key)
	}
	created, err := c.NodeInterface.Create(ctx, first, options)
	if err != nil {
		return nil, err
	}
	return c.complete(ctx, created)
}

// Get reads the Node. If it is not complete, for example after a crash, Get completes it.
func (c completion) Get(ctx context.Context, name string, options metav1.GetOptions) (*corev1.Node, error) {
	object, err := c.NodeInterface.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	return c.complete(ctx, object)
}

// missing returns the reserved labels that the Node lacks, and with the value nil one that it must not have.
func (c completion) missing(object *corev1.Node) map[string]any {
	missing := map[string]any{}
	_, has := object.Labels[noHintsLabel]
	if _, wanted := c.reserved[noHintsLabel]; has && !wanted {
		missing[noHintsLabel] = nil
	}
	for key, value := range c.reserved {
		if has, ok := object.Labels[key]; !ok || has != value {
			missing[key] = value
		}
	}
	return missing
}

// complete sets the reserved labels that the Node lacks.
func (c completion) complete(ctx context.Context, object *corev1.Node) (*corev1.Node, error) {
	missing := c.missing(object)
	if len(missing) == 0 {
		return object, nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": missing}})
	if err != nil {
		return nil, fmt.Errorf("encoding the labels of node %s: %w", object.Name, err)
	}
	completed, err := c.account.Patch(ctx, object.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return nil, fmt.Errorf("setting the labels of node %s that only others may set: %w", object.Name, err)
	}
	return completed, nil
}
