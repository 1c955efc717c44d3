package provider

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// memory is what helps with a Pod and may be lost in a restart.
type memory struct {
	// last is the cloud Pod as it was when it was gone: its exit codes.
	last *cci.Pod
	// gone tells that the cloud has said so.
	gone bool
	// since is when the Pod was first tried.
	since time.Time
	// refusal is why the Pod cannot run in the cloud, as it was last told.
	refusal string
	// lost tells that it has been said that the cloud has lost it.
	lost bool
	// tried is what the cloud was last asked to make, in vain, and retry when it may be asked for the same again.
	tried *cci.Pod
	retry time.Time
	// asked is the last request to end the cloud Pod that the cloud has taken.
	asked ending
}

// remember returns what is remembered of a Pod.
func (p *Provider) remember(key identity.Key) memory {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.memories[key]; m != nil {
		return *m
	}
	return memory{}
}

func (p *Provider) rememberLocked(key identity.Key) *memory {
	m := p.memories[key]
	if m == nil {
		m = &memory{}
		p.memories[key] = m
	}
	return m
}

// firstTry notes when a Pod was first tried, and returns it.
func (p *Provider) firstTry(key identity.Key) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.rememberLocked(key)
	if m.since.IsZero() {
		m.since = p.config.Now()
	}
	return m.since
}

// mayTry tells how long to wait until the cloud may be asked for the same cloud Pod again: every change of the Pod, our own of its
// status among them, brings it here. Otherwise it notes what it is asked for.
func (p *Provider) mayTry(key identity.Key, pod *cci.Pod) (wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.rememberLocked(key)
	if wait := m.retry.Sub(p.config.Now()); wait > 0 && m.tried != nil && equality.Semantic.DeepEqual(m.tried, pod) {
		return wait
	}
	m.tried = pod
	return 0
}

// noteRetry holds back what mayTry has noted.
func (p *Provider) noteRetry(key identity.Key, delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.memories[key]; m != nil {
		m.retry = p.config.Now().Add(delay)
	}
}

// noteAsked remembers a request that the cloud has taken.
func (p *Provider) noteAsked(key identity.Key, request ending) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rememberLocked(key).asked = request
}

// noteMade forgets what is of no use once there is a cloud Pod.
func (p *Provider) noteMade(key identity.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.rememberLocked(key)
	m.tried, m.gone, m.refusal = nil, false, ""
}

// noteRefusal remembers why a Pod cannot run in the cloud, and tells whether that is news.
func (p *Provider) noteRefusal(pod *corev1.Pod, reason string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.rememberLocked(identity.KeyOf(pod))
	news := m.refusal != reason && pod.Status.Reason != reason
	m.refusal = reason
	return news
}

// noteLost remembers that the cloud has lost a Pod, and tells whether that is news: the status that says so is written some time later.
func (p *Provider) noteLost(key identity.Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.rememberLocked(key)
	news := !m.lost
	m.lost = true
	return news
}

// noteGone remembers what a get or a delete has proven.
func (p *Provider) noteGone(key identity.Key, last *cci.Pod) {
	p.inventory.Drop(key, last)
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.rememberLocked(key)
	if m.last == nil || m.last.UID != last.UID {
		m.last = last
	}
	m.gone = true
}

// noteAbsent remembers that the cloud has never had, or has no more, a Pod that the inventory does not know.
func (p *Provider) noteAbsent(key identity.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rememberLocked(key).gone = true
}

func (p *Provider) forget(key identity.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.memories, key)
}
