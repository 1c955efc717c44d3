// Package nodeuser is about the user of a node: system:node:NAME in the group system:nodes, as kubelets use it. The
// Node authorizer allows this user to read only what Pods on the node refer to. The admission plugin NodeRestriction
// allows it to change only its own Node, and the Pods on it.
package nodeuser

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/kubelet/pkg/apis"
)

const (
	prefix = "system:node:"
	// Group is the group of all nodes.
	Group = "system:nodes"
)

// Name returns the name of the user of a node.
func Name(node string) string { return prefix + node }

// NodeOf returns the node of a user, or "" and false if the user is not that of a node.
func NodeOf(user string) (node string, ok bool) {
	if node, ok = strings.CutPrefix(user, prefix); !ok {
		return "", false
	}
	return node, true
}

// Impersonation makes a client act as the user of a node. The client's own user must be allowed to impersonate the
// user and the group.
func Impersonation(node string) rest.ImpersonationConfig {
	return rest.ImpersonationConfig{UserName: Name(node), Groups: []string{Group}}
}

// MaySetLabel reports whether a node may set a label of its own Node. Source: Kubernetes v1.36,
// plugin/pkg/admission/noderestriction.
func MaySetLabel(key string) bool {
	domain, _, prefixed := strings.Cut(key, "/")
	if !prefixed {
		return true
	}
	in := func(suffix string) bool { return domain == suffix || strings.HasSuffix(domain, "."+suffix) }
	if in(corev1.LabelNamespaceNodeRestriction) {
		return false
	}
	return !in("kubernetes.io") && !in("k8s.io") || apis.IsKubeletLabel(key)
}

// Explain adds to the error of a first request that acts as a node what is missing. Other errors than a refusal are
// returned as they are.
func Explain(node string, err error) error {
	if !apierrors.IsForbidden(err) {
		return err
	}
	const instead = ", or set identity to serviceAccount"
	if RefusesImpersonation(err) {
		return fmt.Errorf("this program's user must be allowed to impersonate user %s and group %s%s: %w",
			Name(node), Group, instead, err)
	}
	return fmt.Errorf("the API server must run with --authorization-mode=Node,RBAC%s: %w", instead, err)
}

// RefusesImpersonation reports whether an error says that the client may not act as another user.
func RefusesImpersonation(err error) bool {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok || !apierrors.IsForbidden(err) || status.ErrStatus.Details == nil {
		return false
	}
	return slices.Contains([]string{"users", "groups"}, status.ErrStatus.Details.Kind)
}

// IsRestricted reports whether the admission plugin NodeRestriction runs. leases is a client that acts as the node. The
// Node authorizer allows a node to create any Lease among the heartbeats. The plugin refuses those of other nodes. The
// request is a dry run.
func IsRestricted(ctx context.Context, leases coordinationclient.LeasesGetter, node string) (bool, error) {
	other := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{GenerateName: node + "-not-"}}
	_, err := leases.Leases(corev1.NamespaceNodeLease).Create(ctx, other,
		metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if apierrors.IsForbidden(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("checking whether the API server restricts node %s: %w", node, err)
	}
	return false, nil
}
