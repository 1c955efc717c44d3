package placement

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// manages reports whether Spillway places the Pod. All other Pods are placed by stock rules: a scheduler of its own
// calls the extender for every Pod that names it, also for Pods without any key (docs/decisions/marker-resource.md).
//
// A Pod with the marker resource or a key is managed. So is a Pod that tolerates virtual nodes in a namespace with
// limits, because it counts towards them, or with shares. Only for such a Pod the namespace must be known.
func (p *Placement) manages(pod *corev1.Pod) (bool, error) {
	if policy.NeedsPlacement(&pod.Spec) || policy.HasPlacementKeys(pod) {
		return true, nil
	}
	if !policy.ToleratesProvider(&pod.Spec) {
		return false, nil
	}
	annotations, err := p.facts.Namespace(pod.Namespace)
	if err != nil {
		return false, err
	}
	limits, _ := p.policy.CloudLimits(annotations) // Malformed limits allow nothing, and Decide says why.
	return !limits.IsZero() || policy.HasShares(annotations), nil
}
