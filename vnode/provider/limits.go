package provider

import (
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// reservations are the sizes of cloud Pods that are about to be created. The inventory does not contain them yet.
type reservations struct {
	mu   sync.Mutex
	uses map[identity.Key]policy.CloudUse
}

// reserveWithin reserves the size of a cloud Pod within the limits of its namespace. It returns an empty message, or
// why it cannot. The extender counts all nodes. This is the last line, for Pods that it has not seen: a Pod needs the
// slot that the extender has given it, and the Pods of its namespace on this node alone must be within the limits.
// Cloud Pods that exist count, and are never ended.
func (p *Provider) reserveWithin(limits policy.CloudLimits, pod *corev1.Pod, size sizes.Flavor) (message string) {
	if limits.IsZero() {
		return ""
	}
	namespace := fmt.Sprintf("namespace %s may use %s in the cloud (%s)",
		pod.Namespace, limits, policy.CloudLimitsAnnotation)
	slot, ok := policy.CloudSlotOf(pod)
	if !ok || size.MilliCPU > slot.MilliCPU || size.MilliGiB > slot.MilliGiB {
		return fmt.Sprintf("%s, and the extender has not counted this Pod with its size %s: only the scheduler may bind it",
			namespace, size)
	}
	key, use := identity.KeyOf(pod), policy.CloudUse{Pods: 1, Flavor: size}
	p.reserved.mu.Lock()
	defer p.reserved.mu.Unlock()
	if !limits.Allow(p.usedBesides(key).Plus(use)) {
		return namespace + ", and its Pods on this node leave no room for this one; " +
			"it is tried again when one of them ends or the limits change"
	}
	p.reserved.uses[key] = use
	return ""
}

// usedBesides returns what the other Pods of a namespace use on this node. The reservations must be locked.
func (p *Provider) usedBesides(key identity.Key) policy.CloudUse {
	known := p.inventory.All()
	var used policy.CloudUse
	for other, cloud := range known {
		if other.Namespace == key.Namespace && other != key && !translate.IsTerminal(cloud.Status.Phase) {
			used = used.Plus(policy.CloudUse{Pods: 1, Flavor: translate.BilledSize(cloud)})
		}
	}
	for other, use := range p.reserved.uses {
		if other.Namespace == key.Namespace && other != key && known[other] == nil {
			used = used.Plus(use)
		}
	}
	return used
}

// cancelReservation must be called when a cloud Pod is in the inventory or will not be created.
func (p *Provider) cancelReservation(key identity.Key) {
	p.reserved.mu.Lock()
	_, ok := p.reserved.uses[key]
	delete(p.reserved.uses, key)
	p.reserved.mu.Unlock()
	if ok && p.inventory.Get(key) == nil {
		p.limitsFreed(key.Namespace)
	}
}

// cloudFreed queues the Pods that wait for the limits, if a cloud Pod of their namespace no longer counts.
func (p *Provider) cloudFreed(key identity.Key, cloud *cci.Pod, exists bool) {
	if !exists || translate.IsTerminal(cloud.Status.Phase) {
		p.limitsFreed(key.Namespace)
	}
}

func (p *Provider) limitsFreed(namespace string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, state := range p.states {
		if key.Namespace == namespace && state.refusal == string(policy.ReasonCloudLimits) {
			p.loop.Add(key)
		}
	}
}
