package placement

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// MaxImagined is how many virtual nodes that do not exist a dry run may name: policy compares each with the selectors
// of the Pod.
const MaxImagined = 100

// Offer is the nodes that a dry run may choose from.
type Offer struct {
	Names []string
	// Labels are those of nodes that need not exist, by name. They say of which class such a node is. Who claims that a
	// node is virtual changes its own answer only. Labels of nodes that exist are ignored.
	Labels map[string]map[string]string
}

// DryRun returns what Filter would return now, from what the extender has seen. It reserves, writes and records
// nothing, and waits for nothing. A Pod that does not exist is decided by the counts of its revision and its namespace.
// A *nodes.UnknownNodeError or an *ImaginedError is an error of the client.
func (p *Placement) DryRun(ctx context.Context, pod *corev1.Pod, offer Offer) (FilterResult, error) {
	managed, err := p.manages(pod)
	if err != nil {
		return FilterResult{}, err
	}
	if !managed {
		return FilterResult{Names: offer.Names, Reason: policy.ReasonUnmanaged}, nil
	}
	if err := p.Ready(); err != nil {
		return FilterResult{}, err
	}
	view, imagined, err := p.nodes.View().With(offer.Names, offer.Labels)
	if err != nil {
		return FilterResult{}, err
	}
	if len(imagined) > MaxImagined {
		return FilterResult{}, &ImaginedError{Count: len(imagined)}
	}
	c, err := p.decide(pod, imagined)
	if err != nil {
		return FilterResult{}, err
	}
	c.dryRun = true
	return p.filter(ctx, c, view, offer.Names)
}

// ImaginedError means that a dry run names too many virtual nodes that do not exist.
type ImaginedError struct{ Count int }

func (e *ImaginedError) Error() string {
	return fmt.Sprintf("%d virtual nodes that the cluster does not have: must be at most %d", e.Count, MaxImagined)
}
