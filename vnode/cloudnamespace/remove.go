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

// mostNamed is how many things of others are named.
const mostNamed = 3

// Removal says which namespace is to go.
type Removal struct {
	// Namespace is the CCI namespace, ClusterID the cluster whose virtual nodes have made it.
	Namespace, ClusterID string
	// DryRun removes nothing.
	DryRun bool
	// Poll is between two looks whether it is gone.
	Poll time.Duration
}

// Remove deletes a CCI namespace that virtual nodes of the cluster have made, with all that is the cluster's in it, and returns when it is
// gone. One that somebody else has made or uses stays: kept says why. It may be called again.
func Remove(ctx context.Context, api cci.API, r Removal) (kept string, err error) {
	namespace, err := api.GetNamespace(ctx, r.Namespace)
	if cci.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if maker := namespace.Annotations[policy.CloudClusterKey]; maker != r.ClusterID {
		return "it was made by " + makerWords(maker), nil
	}
	contents, err := api.NamespaceContents(ctx, r.Namespace)
	if err != nil { // NotFound too: what is not known is not removed.
		return "", err
	}
	others := slices.DeleteFunc(contents, func(o cci.NamespaceObject) bool { return o.Annotations[policy.CloudClusterKey] == r.ClusterID })
	if len(others) > 0 {
		return usedWords(others), nil
	}
	if r.DryRun {
		return "", nil
	}
	if err := api.DeleteNamespace(ctx, r.Namespace, cci.DeleteOptions{UID: namespace.UID}); err != nil && !cci.IsNotFound(err) {
		return "", err
	}
	return "", awaitGone(ctx, api, namespace, r.Poll)
}

func makerWords(cluster string) string {
	if cluster == "" {
		return "somebody else"
	}
	return "cluster " + cluster
}

func usedWords(others []cci.NamespaceObject) string {
	var names []string
	for _, o := range others[:min(len(others), mostNamed)] {
		names = append(names, o.String())
	}
	words := fmt.Sprintf("it holds %d things of others: %s", len(others), strings.Join(names, ", "))
	if len(others) > mostNamed {
		words += ", …"
	}
	return words
}

// awaitGone returns when the namespace is gone, or another one of its name is there.
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
