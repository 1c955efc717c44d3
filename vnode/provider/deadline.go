package provider

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// deadlineMessage is that of the kubelet. Source: Kubernetes v1.36, pkg/kubelet/active_deadline.go.
const deadlineMessage = "Pod was active on the node longer than the specified deadline"

// untilDeadline returns how long a Pod may still be active. As for the kubelet, the time begins when the node
// acknowledges the Pod, not when its containers start. ok is false if the Pod has no deadline.
func (p *Provider) untilDeadline(pod *corev1.Pod) (left time.Duration, ok bool) {
	seconds := pod.Spec.ActiveDeadlineSeconds
	if seconds == nil {
		return 0, false
	}
	deadline := p.acknowledged(pod).Add(time.Duration(*seconds) * time.Second)
	return deadline.Sub(p.config.Now()), true
}

// expire ends a Pod whose deadline has passed: first its cloud Pod, then the Pod. As the kubelet does, it reports the
// end only when no container can run any more.
func (p *Provider) expire(ctx context.Context, pod *corev1.Pod, cloud *cci.Pod) (time.Duration, error) {
	key := identity.KeyOf(pod)
	if p.recordOnce(key, func(s *podState) *bool { return &s.expired }) {
		p.config.Recorder.Event(pod, corev1.EventTypeNormal, ReasonDeadline, deadlineMessage)
	}
	p.cancelReservation(key)
	left, err := p.endInCloud(ctx, key, cloud, nil)
	if err != nil {
		return 0, err
	}
	last := p.state(key).last
	if left != nil {
		if !translate.IsTerminal(left.Status.Phase) {
			p.report(pod, translate.Status(pod, left, p.config.NodeIP, p.now()))
			return p.config.Recheck, nil
		}
		last = left
	}
	p.report(pod, translate.FailedStatus(pod, last, ReasonDeadline, deadlineMessage, p.config.NodeIP, p.now()))
	return 0, nil
}
