package provider

import (
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
	mu sync.Mutex
	// uses are by namespace.
	uses map[string]map[identity.Key]policy.CloudUse
}

// add adds a reservation. The reservations must be locked.
func (r *reservations) add(key identity.Key, use policy.CloudUse) {
	if r.uses[key.Namespace] == nil {
		r.uses[key.Namespace] = map[identity.Key]policy.CloudUse{}
	}
	r.uses[key.Namespace][key] = use
}

// remove removes a reservation, and reports whether there was one.
func (r *reservations) remove(key identity.Key) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	own := r.uses[key.Namespace]
	_, ok := own[key]
	if delete(own, key); len(own) == 0 {
		delete(r.uses, key.Namespace)
	}
	return ok
}

// reserveWithin reserves the size of a cloud Pod within the limits of its namespace. It returns nil, or why it cannot.
// The extender counts all nodes. This is the last line, for Pods that it has not seen: a Pod needs the
// slot that the extender has given it, and the Pods of its namespace on this node alone must be within the limits.
// Cloud Pods that exist count, and are never ended.
func (p *Provider) reserveWithin(limits policy.CloudLimits, pod *corev1.Pod, size sizes.Flavor) *policy.Decision {
	if limits.IsZero() {
		return nil
	}
	refuse := func(m policy.Message) *policy.Decision {
		return &policy.Decision{Reason: m.Code, Message: m.Sentence}
	}
	slot, ok := policy.CloudSlotOf(pod)
	switch {
	case !ok:
		return refuse(policy.NotCounted(policy.BoundUncounted))
	case size.MilliCPU > slot.MilliCPU || size.MilliGiB > slot.MilliGiB:
		return refuse(policy.NotCounted(policy.Outgrown(slot, size)))
	}
	key, use := identity.KeyOf(pod), policy.CloudUse{Pods: 1, Flavor: size}
	p.reserved.mu.Lock()
	defer p.reserved.mu.Unlock()
	if !limits.Allow(p.inventory.UsedBesides(key, p.reserved.uses[key.Namespace]).Plus(use)) {
		return refuse(p.rules.CloudLimitsReached(pod))
	}
	p.reserved.add(key, use)
	return nil
}

// cancelReservation must be called when a cloud Pod is in the inventory or will not be created.
func (p *Provider) cancelReservation(key identity.Key) {
	if p.reserved.remove(key) && p.inventory.Get(key) == nil {
		p.limitsFreed(key.Namespace)
	}
}

// cloudFreed queues the Pods that wait for the limits, if a cloud Pod of their namespace no longer counts, and some of
// those that wait for a quota of the cloud.
func (p *Provider) cloudFreed(key identity.Key, cloud *cci.Pod, exists bool) {
	if !exists || translate.IsTerminal(cloud.Status.Phase) {
		p.limitsFreed(key.Namespace)
		p.RetryQuota()
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
