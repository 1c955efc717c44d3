package placement

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/extender/nodes"
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
func (p *Placement) DryRun(pod *corev1.Pod, offer Offer) (FilterResult, error) {
	managed, err := p.manages(pod)
	if err != nil {
		return FilterResult{}, err
	}
	if !managed {
		return FilterResult{Names: offer.Names, Reason: policy.ReasonUnmanaged}, nil
	}
	f, err := p.foresee(pod, offer, 0)
	if err != nil {
		return FilterResult{}, err
	}
	if f.outcome == ledger.Gone {
		return FilterResult{}, errGone(pod)
	}
	return p.result(f.candidate, f.outcome), nil
}

// forecast is a decision that nothing was reserved for.
type forecast struct {
	candidate
	view    nodes.View
	sight   ledger.Sight
	outcome ledger.Outcome
}

// foresee decides about a Pod without reserving anything. Its sight has as many holders of local slots as most at most.
func (p *Placement) foresee(pod *corev1.Pod, offer Offer, most int) (forecast, error) {
	if err := p.Ready(); err != nil {
		return forecast{}, err
	}
	view, imagined, err := p.nodes.View().With(offer.Names, offer.Labels)
	if err != nil {
		return forecast{}, err
	}
	if len(imagined) > MaxImagined {
		return forecast{}, &ImaginedError{Count: len(imagined)}
	}
	f := forecast{view: view}
	if f.candidate, err = p.decide(pod, imagined); err != nil {
		return forecast{}, err
	}
	f.offer(p, view, offer.Names)
	f.sight = p.ledger.Look(pod, most)
	if f.need() == anOutcome {
		f.outcome = f.sight.Outcome(f.request())
	}
	return f, nil
}

// ImaginedError means that a dry run names too many virtual nodes that do not exist.
type ImaginedError struct{ Count int }

func (e *ImaginedError) Error() string {
	return fmt.Sprintf("%d virtual nodes that the cluster does not have: must be at most %d", e.Count, MaxImagined)
}
