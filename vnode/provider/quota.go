package provider

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// quotaRetries is the number of Pods that are tried again when a quota may have room. Each that is created lets as many
// others try. Without a limit, every Pod that ends would cause a request for each Pod that waits.
const quotaRetries = 4

// waitForQuota reports a Pod for which a quota of the cloud has no room. Whatever its restartPolicy, it does not fail:
// the Pod may well run, once others have ended.
func (p *Provider) waitForQuota(pod *corev1.Pod, refusal error) (time.Duration, error) {
	key, reason := identity.KeyOf(pod), string(policy.ReasonQuota)
	p.cancelReservation(key)
	p.noteRefusal(pod, reason, refusal.Error())
	p.updateKnown(key, func(s *podState) { s.refusedAt = p.config.Now() })
	p.report(pod, translate.WaitingStatus(pod, reason, refusal.Error(), p.config.NodeIP, p.now()))
	p.delayAttempt(key, p.config.RefusalRetry)
	return p.config.RefusalRetry, nil
}

// waitsForQuota reports whether a quota of the cloud had no room for the Pod when it was last refused.
func (s podState) waitsForQuota() bool { return s.refusal == string(policy.ReasonQuota) }

// QuotaRefusals returns the Pods that wait because a quota of the cloud has no room for them, and when the cloud last
// said so. It does not block.
func (p *Provider) QuotaRefusals() map[identity.Key]time.Time {
	refused := map[identity.Key]time.Time{}
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, state := range p.states {
		if state.waitsForQuota() {
			refused[key] = state.refusedAt
		}
	}
	return refused
}

// RetryQuota queues some of the Pods that wait for a quota of the cloud, in no order: a Pod that is too large must not
// hold up the others. It does not block.
func (p *Provider) RetryQuota() {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := quotaRetries
	for key, state := range p.states {
		if left > 0 && state.waitsForQuota() {
			state.retryAt = time.Time{}
			p.loop.Add(key)
			left--
		}
	}
}
