package placement

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/policy"
)

var _ ledger.Billing = Billing{}

// Billing tells the ledger what to count in the cloud.
type Billing struct {
	Policy *policy.Policy
	Facts  Facts
}

// Use implements ledger.Billing. A Pod of which no size is known counts as one Pod.
func (b Billing) Use(pod *corev1.Pod) policy.CloudUse {
	use, err := b.Policy.CloudUse(pod)
	if err != nil {
		return policy.CloudUse{Pods: 1}
	}
	return use
}

// Annotations implements ledger.Billing.
func (b Billing) Annotations(namespace string) map[string]string {
	annotations, err := b.Facts.Namespace(namespace)
	if err != nil {
		return nil
	}
	return annotations
}

// Limits implements ledger.Billing. A namespace whose limits are not known may use nothing.
func (b Billing) Limits(namespace string) policy.CloudLimits {
	annotations, err := b.Facts.Namespace(namespace)
	if err != nil {
		return policy.NoCloud()
	}
	limits, _ := b.Policy.CloudLimits(annotations)
	return limits
}
