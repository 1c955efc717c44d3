package provider

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/tracing"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// reconcile brings one Pod and its cloud Pod closer to agreement. It may be called at any time and any number of
// times, but not for one Pod twice at the same time. requeueAfter is when to reconcile again although nothing has
// changed, 0 for never.
//
//	Pod               cloud Pod          action
//	gone              exists             deleted, after the cluster has confirmed that the Pod is gone
//	being deleted     exists             deleted with the Pod's grace period; the Pod's status follows
//	being deleted     gone               the containers are reported as ended, then the Pod is removed
//	ended             running            deleted: it would run, and cost money, without purpose
//	ended             ended              kept for its log
//	past its deadline exists             deleted, then the Pod is reported as failed
//	exists            exists             the Pod's status follows
//	exists            ended by others    nothing until it is gone: its end is not that of the Pod's own containers
//	exists, has run   gone               read from the cloud once more, then the Pod is reported as failed
//	exists, never ran does not exist     created
func (p *Provider) reconcile(ctx context.Context, key identity.Key) (requeueAfter time.Duration, err error) {
	pod, cloud := p.pod(key), p.inventory.Get(key)
	if pod == nil || pod.DeletionTimestamp != nil || translate.IsTerminal(pod.Status.Phase) {
		p.cancelReservation(key)
	}
	switch {
	case pod == nil:
		return p.collect(ctx, key, cloud)
	case pod.DeletionTimestamp != nil:
		return p.terminate(ctx, pod, cloud)
	case translate.IsTerminal(pod.Status.Phase):
		return p.release(ctx, key, cloud)
	}
	if left, ok := p.untilDeadline(pod); ok {
		hasEnded := cloud != nil && cloud.DeletionTimestamp == nil && translate.IsTerminal(cloud.Status.Phase)
		switch {
		case left > 0:
			p.loop.AddAfter(key, left) // Also if the attempt fails: the deadline is not delayed by retries.
		case !hasEnded:
			return p.expire(ctx, pod, cloud)
		}
	}
	switch {
	case cloud != nil && cloud.DeletionTimestamp != nil && translate.IsTerminal(cloud.Status.Phase):
		return p.config.Recheck, nil
	case cloud != nil:
		p.warnAboutAddress(pod, cloud)
		p.warnAboutSidecar(pod, cloud)
		status := translate.Status(pod, cloud, p.config.NodeIP, p.now())
		p.warnAboutResize(pod, &status)
		p.report(pod, status)
		return 0, nil
	case p.hasRun(pod):
		return p.recover(ctx, pod)
	}
	ctx, span := tracing.Follow(ctx, "vnode: create cloud Pod", pod)
	requeueAfter, err = p.create(ctx, pod)
	tracing.End(span, err, "node", pod.Spec.NodeName)
	return requeueAfter, err
}

// report passes the status of a Pod to virtual-kubelet, which retries until it has written the status to the cluster.
func (p *Provider) report(pod *corev1.Pod, status corev1.PodStatus) {
	if status.StartTime == nil {
		status.StartTime = &metav1.Time{Time: p.acknowledged(pod)}
	}
	if equality.Semantic.DeepEqual(pod.Status, status) {
		return
	}
	// virtual-kubelet keeps its argument, reads nothing but the metadata and the status of it, and changes copies only.
	p.notify(&corev1.Pod{ObjectMeta: pod.ObjectMeta, Status: status})
}

// warnAboutAddress reports once that an address of a Pod is not used.
func (p *Provider) warnAboutAddress(pod *corev1.Pod, cloud *cci.Pod) {
	reported := func(s *podState) *bool { return &s.addressRefused }
	if cloud.RefusedAddress == "" || !p.recordOnce(identity.KeyOf(pod), reported) {
		return
	}
	p.config.Recorder.Eventf(pod, corev1.EventTypeWarning, eventAddressRefused,
		"An address that the cloud reports for this Pod is not used: %s; if it is right, add its range to cci.podCIDRs",
		cloud.RefusedAddress)
}

// warnAboutSidecar reports once that the sidecar of a Pod does not run, and again after it has run meanwhile. The
// status of the Pod does not show the sidecar.
func (p *Provider) warnAboutSidecar(pod *corev1.Pod, cloud *cci.Pod) {
	key, failure := identity.KeyOf(pod), translate.SidecarFailure(pod, cloud)
	if failure == "" {
		sidecar := translate.Sidecar(pod, cloud)
		if sidecar != nil && sidecar.Started != nil && *sidecar.Started {
			p.updateKnown(key, func(s *podState) { s.sidecarFailed = false })
		}
		return
	}
	if p.recordOnce(key, func(s *podState) *bool { return &s.sidecarFailed }) {
		p.config.Recorder.Eventf(pod, corev1.EventTypeWarning, eventSidecarFailed,
			"The Pod reaches no Services: its sidecar %s in the cloud does not run: %s",
			policy.ServicesContainer, failure)
	}
}

// hasRun reports whether the Pod has had a cloud Pod with an address or a container. The provider does not create
// such a Pod again.
func (p *Provider) hasRun(pod *corev1.Pod) bool {
	if translate.HasRun(pod) {
		return true
	}
	last := p.state(identity.KeyOf(pod)).last
	return last != nil && last.HasAddress()
}

// recover reads a Pod that the inventory does not have from the cloud, and reports it as failed if the cloud does not
// have it.
func (p *Provider) recover(ctx context.Context, pod *corev1.Pod) (time.Duration, error) {
	key := identity.KeyOf(pod)
	cloud, err := p.readCloudPod(ctx, key)
	if err != nil {
		return 0, err
	}
	if cloud != nil {
		p.report(pod, translate.Status(pod, cloud, p.config.NodeIP, p.now()))
		return 0, nil
	}
	message := "the cloud Pod disappeared without a request to delete it"
	if p.recordOnce(key, func(s *podState) *bool { return &s.lost }) {
		p.metrics.lost.Inc()
		p.config.Recorder.Event(pod, corev1.EventTypeWarning, ReasonLost, message)
	}
	p.report(pod, translate.LostStatus(pod, p.state(key).last, ReasonLost, message, p.config.NodeIP, p.now()))
	return 0, nil
}

// readCloudPod reads the cloud Pod of a Pod from the cloud. nil is the proof that there is none.
func (p *Provider) readCloudPod(ctx context.Context, key identity.Key) (*cci.Pod, error) {
	name := identity.CloudName(key)
	cloud, err := p.cloud.GetPod(ctx, p.namespace, name)
	if cci.IsNotFound(err) {
		if known := p.inventory.Get(key); known != nil {
			p.recordGone(key, known)
		} else {
			p.recordAbsent(key)
		}
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if found, ok := p.owner.Owns(cloud); !ok || found != key {
		return nil, fmt.Errorf("cloud pod %s does not belong to %s: its annotations name another pod", name, key)
	}
	p.inventory.Put(cloud)
	return cloud, nil
}
