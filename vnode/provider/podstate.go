package provider

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// podState is what the provider keeps of a Pod. It may be lost in a restart.
type podState struct {
	// last is the cloud Pod as it was before it was gone. It has the exit codes.
	last *cci.Pod
	// gone: the cloud has reported the cloud Pod as gone.
	gone bool
	// acknowledged is when the provider first saw the Pod. It becomes the start time in the status of the Pod.
	acknowledged time.Time
	// failures counts failed attempts in a row.
	failures int
	// refusal is the last reported reason why the Pod cannot run in the cloud.
	refusal string
	// refusedAt is when the cloud last refused the Pod because a quota has no room for it.
	refusedAt time.Time
	// The provider has reported that the cloud has lost the Pod, that the deadline of the Pod has passed, that it does
	// not use an address of the cloud Pod, that files of the downward API do not follow a change, that a resize has no
	// effect, and that the sidecar for Services does not run.
	lost, expired, addressRefused, filesKept, resizeRefused, sidecarFailed bool
	// attempted is the cloud Pod that the provider last tried to create. retryAt is when it may try the same again.
	attempted *cci.Pod
	retryAt   time.Time
	// deletion is the last deletion of the cloud Pod that the cloud has accepted.
	deletion deletion
}

// state returns the state of a Pod.
func (p *Provider) state(key identity.Key) podState {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.states[key]; s != nil {
		return *s
	}
	return podState{}
}

// update changes the state of a Pod.
func (p *Provider) update(key identity.Key, change func(*podState)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.states[key]
	if s == nil {
		s = &podState{}
		p.states[key] = s
	}
	change(s)
}

// updateKnown changes the state of a Pod if there is one.
func (p *Provider) updateKnown(key identity.Key, change func(*podState)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.states[key]; s != nil {
		change(s)
	}
}

func (p *Provider) forget(key identity.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.states, key)
}

// acknowledged returns when the node has acknowledged a Pod: the start time in its status, or, until that is written,
// when the provider first saw the Pod.
func (p *Provider) acknowledged(pod *corev1.Pod) (at time.Time) {
	if start := pod.Status.StartTime; start != nil {
		return start.Time
	}
	p.update(identity.KeyOf(pod), func(s *podState) {
		if s.acknowledged.IsZero() {
			s.acknowledged = p.config.Now()
		}
		at = s.acknowledged
	})
	return at
}

// attempt returns how long to wait before the provider may try to create the same cloud Pod again: every change of
// the Pod queues it, including the provider's own changes of the status. Without a wait it records the cloud Pod.
func (p *Provider) attempt(key identity.Key, pod *cci.Pod) (wait time.Duration) {
	p.update(key, func(s *podState) {
		wait = s.retryAt.Sub(p.config.Now())
		if wait > 0 && s.attempted != nil && equality.Semantic.DeepEqual(s.attempted, pod) {
			return
		}
		wait, s.attempted = 0, pod
	})
	return wait
}

// delayAttempt sets when the provider may try the recorded cloud Pod again.
func (p *Provider) delayAttempt(key identity.Key, delay time.Duration) {
	p.updateKnown(key, func(s *podState) { s.retryAt = p.config.Now().Add(delay) })
}

// recordCreated clears the state that applies only while there is no cloud Pod.
func (p *Provider) recordCreated(key identity.Key) {
	p.update(key, func(s *podState) { s.attempted, s.gone, s.refusal = nil, false, "" })
}

// recordRefusal records why a Pod cannot run in the cloud. It reports whether the reason is new.
func (p *Provider) recordRefusal(pod *corev1.Pod, reason string) (isNew bool) {
	p.update(identity.KeyOf(pod), func(s *podState) {
		isNew = s.refusal != reason && pod.Status.Reason != reason
		s.refusal = reason
	})
	return isNew
}

// recordOnce sets a field of the state of a Pod. It reports whether that is new: what the field says is reported once,
// although the status that says so is written some time later.
func (p *Provider) recordOnce(key identity.Key, field func(*podState) *bool) (isNew bool) {
	p.update(key, func(s *podState) {
		reported := field(s)
		isNew, *reported = !*reported, true
	})
	return isNew
}

// recordGone records that a cloud Pod is gone, as a get or a delete request has shown.
func (p *Provider) recordGone(key identity.Key, last *cci.Pod) {
	p.inventory.Drop(key, last)
	p.update(key, func(s *podState) {
		if s.last == nil || s.last.UID != last.UID {
			s.last = last
		}
		s.gone = true
	})
}

// recordAbsent records that the cloud does not have a Pod that the inventory does not know either.
func (p *Provider) recordAbsent(key identity.Key) {
	p.update(key, func(s *podState) { s.gone = true })
}
