package node

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/spillway-k8s/spillway/vnode/nodeuser"
)

// completion is the client of the Node for virtual-kubelet. A node may not set all of its own labels, nor change its
// taints: another user, account, does. A Node is created without these labels. Until it has them, it is not a virtual
// node for others.
type completion struct {
	corev1client.NodeInterface
	account  corev1client.NodeInterface
	reserved map[string]string
	taints   []corev1.Taint
}

// newCompletion returns the client for a Node.
func newCompletion(node, account corev1client.NodeInterface, config Config) completion {
	reserved := map[string]string{}
	for key, value := range labels(config) {
		if !nodeuser.MaySetLabel(key) {
			reserved[key] = value
		}
	}
	return completion{NodeInterface: node, account: account, reserved: reserved, taints: taints(config)}
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

// missingTaints returns the taints that the Node lacks, or has with another value.
func (c completion) missingTaints(object *corev1.Node) []corev1.Taint {
	var missing []corev1.Taint
	for _, taint := range c.taints {
		if !slices.ContainsFunc(object.Spec.Taints, func(has corev1.Taint) bool {
			return has.MatchTaint(&taint) && has.Value == taint.Value
		}) {
			missing = append(missing, taint)
		}
	}
	return missing
}

// complete sets the reserved labels and the taints that the Node lacks. If the Node changes meanwhile, it returns a
// conflict, because the list of taints is written as a whole.
func (c completion) complete(ctx context.Context, object *corev1.Node) (*corev1.Node, error) {
	patch := map[string]any{}
	metadata := map[string]any{}
	if missing := c.missing(object); len(missing) > 0 {
		metadata["labels"], patch["metadata"] = missing, metadata
	}
	if missing := c.missingTaints(object); len(missing) > 0 {
		kept := slices.DeleteFunc(slices.Clone(object.Spec.Taints), func(has corev1.Taint) bool {
			return slices.ContainsFunc(missing, func(taint corev1.Taint) bool { return has.MatchTaint(&taint) })
		})
		metadata["resourceVersion"], patch["metadata"] = object.ResourceVersion, metadata
		patch["spec"] = map[string]any{"taints": append(kept, missing...)}
	}
	if len(patch) == 0 {
		return object, nil
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return nil, fmt.Errorf("encoding the labels and taints of node %s: %w", object.Name, err)
	}
	completed, err := c.account.Patch(ctx, object.Name, types.MergePatchType, body, metav1.PatchOptions{})
	if apierrors.IsConflict(err) {
		return nil, err // Unwrapped: virtual-kubelet retries a conflict that it recognizes.
	}
	if err != nil {
		return nil, fmt.Errorf("setting the labels and taints of node %s that only others may set: %w",
			object.Name, err)
	}
	return completed, nil
}
