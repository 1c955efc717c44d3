package provider

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// writtenPod is a Pod as the API server has returned it after a write, until the watch delivers that version. Without
// it, each status that follows soon after another one would be compared with the version before, and refused as a
// conflict.
type writtenPod struct {
	pod *corev1.Pod
	// older are the versions that the watch may still show although they are older than pod.
	older []string
}

// recordWritten records the result of a write that changed a Pod, which it may change.
func (p *Provider) recordWritten(before, after *corev1.Pod) {
	if after.ResourceVersion == before.ResourceVersion {
		return
	}
	// It has no error. What the informer does not keep is not kept here either.
	if _, err := translate.Trim(after); err != nil {
		return
	}
	key := identity.KeyOf(after)
	p.mu.Lock()
	written := writtenPod{pod: after, older: []string{before.ResourceVersion}}
	if last, ok := p.written[key]; ok && last.pod == before {
		written.older = append(slices.Clone(last.older), before.ResourceVersion)
	}
	p.written[key] = written
	p.mu.Unlock()
	p.pod(key) // The watch may have been faster: then nothing is kept. Otherwise it will queue the Pod.
}

// newest returns the newer one of the Pod of the informer, nil if there is none, and of the Pod as it was written.
func (p *Provider) newest(key identity.Key, known *corev1.Pod) *corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	written, ok := p.written[key]
	if !ok {
		return known
	}
	if known != nil && slices.Contains(written.older, known.ResourceVersion) {
		return written.pod
	}
	delete(p.written, key)
	return known
}
