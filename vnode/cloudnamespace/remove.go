package cloudnamespace

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
)

// maxNamed is how many objects of others a message names.
const maxNamed = 3

// Removal describes the cloud namespace to delete.
type Removal struct {
	// Namespace is the CCI namespace. ClusterID is the cluster whose virtual nodes created it.
	Namespace, ClusterID string
	// DryRun deletes nothing.
	DryRun bool
	// Poll is the interval between two checks whether it is gone.
	Poll time.Duration
}

// Remove deletes a CCI namespace that virtual nodes of the cluster created, with all objects of the cluster in it, and
// returns when it is gone. It keeps a namespace that others created or use, and kept says why. It may be called again.
func Remove(ctx context.Context, api cci.API, r Removal) (kept string, err error) {
	namespace, err := api.GetNamespace(ctx, r.Namespace)
	if cci.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if creator := namespace.Annotations[policy.CloudClusterKey]; creator != r.ClusterID {
		return "it was created by " + describeCreator(creator), nil
	}
	contents, err := api.NamespaceContents(ctx, r.Namespace)
	if cci.IsNotOffered(err) { // A proxy may have answered. What would be deleted is not known.
		return fmt.Sprintf("it may contain objects of others: %v; run the command again later, or delete the namespace in "+
			"the CCI console", err), nil
	}
	if err != nil { // NotFound too: a namespace with unknown contents is not deleted.
		return "", err
	}
	others := slices.DeleteFunc(contents, func(o cci.NamespaceObject) bool {
		return o.Annotations[policy.CloudClusterKey] == r.ClusterID
	})
	if len(others) > 0 {
		return describeOthers(others), nil
	}
	if r.DryRun {
		return "", nil
	}
	err = api.DeleteNamespace(ctx, r.Namespace, cci.DeleteOptions{UID: namespace.UID})
	if err != nil && !cci.IsNotFound(err) {
		return "", err
	}
	return "", awaitGone(ctx, api, namespace, r.Poll)
}

func describeCreator(cluster string) string {
	if cluster == "" {
		return "another user or program"
	}
	return "cluster " + cluster
}

func describeOthers(others []cci.NamespaceObject) string {
	var names []string
	for _, o := range others[:min(len(others), maxNamed)] {
		names = append(names, o.String())
	}
	message := fmt.Sprintf("it contains %d objects of others: %s", len(others), strings.Join(names, ", "))
	if len(others) > maxNamed {
		message += ", …"
	}
	return message
}

// awaitGone returns when the namespace is gone, or another one has its name.
func awaitGone(ctx context.Context, api cci.API, namespace *cci.Namespace, poll time.Duration) error {
	for {
		found, err := api.GetNamespace(ctx, namespace.Name)
		if cci.IsNotFound(err) || (err == nil && found.UID != namespace.UID) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until cloud namespace %s is gone: %w", namespace.Name, ctx.Err())
		case <-time.After(poll):
		}
	}
}
