package provider

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/spillway-k8s/spillway/internal/worker"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/mirror"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// create creates the cloud Pod of a Pod, or reports why it cannot.
func (p *Provider) create(ctx context.Context, pod *corev1.Pod) (time.Duration, error) {
	key := identity.KeyOf(pod)
	since := p.acknowledged(pod)
	settings, refused, err := p.decide(pod)
	if err != nil {
		p.reportWaiting(pod, ReasonUndecided, err)
		return 0, err
	}
	if refused != nil {
		return p.refuseDecided(pod, *refused)
	}
	cluster := translate.Cluster{DNS: p.config.NodeDNS(), Allowed: settings.CloudAnnotations}
	if p.config.Translator.ReadsServices(pod) {
		if cluster.Services, err = p.config.Services(pod.Namespace); err != nil {
			p.reportWaiting(pod, ReasonServicesUnknown, err)
			return 0, err
		}
	}
	result, reason, message := p.translate(pod, cluster)
	if reason != "" {
		return p.refuse(pod, string(reason), message)
	}
	if refused := p.reserveWithin(settings.CloudLimits, pod, result.Size); refused != nil {
		return p.refuseDecided(pod, *refused)
	}
	if wait := p.attempt(key, result.Pod); wait > 0 {
		return wait, worker.ErrNotYet
	}
	if err := p.mirrors.Ensure(ctx, pod); err != nil {
		return p.mirrorFailed(pod, err)
	}
	created, err := p.cloud.CreatePod(ctx, p.namespace, translate.PreferEnvFrom(result.Pod, pod, p.mirrors.Keys))
	if cci.IsTaken(err) {
		return p.adopt(ctx, pod)
	}
	if err != nil {
		return p.createFailed(pod, err)
	}
	p.inventory.Put(created)
	if p.state(key).waitsForQuota() {
		p.RetryQuota() // It has room again.
	}
	p.recordCreated(key)
	p.cancelReservation(key)
	if now := p.pod(key); now != nil && now != pod { // It was changed meanwhile, and the inventory did not have it yet.
		p.warnAboutChanges(pod, now)
	}
	p.metrics.creation.Observe(p.config.Now().Sub(since).Seconds())
	p.config.Recorder.Eventf(pod, corev1.EventTypeNormal, eventCreated,
		"Created cloud Pod %s of size %s", created.Name, result.Size)
	if len(result.Warnings) > 0 {
		p.config.Recorder.Event(pod, corev1.EventTypeWarning, eventChanged,
			"The cloud Pod differs: "+policy.Summary(result.Warnings))
	}
	p.report(pod, translate.Status(pod, created, p.config.NodeIP, p.now()))
	return 0, nil
}

// translate returns the cloud Pod, or the reason and the message why there can be none.
func (p *Provider) translate(
	pod *corev1.Pod, cluster translate.Cluster,
) (result translate.Result, reason policy.Reason, message string) {
	result, err := p.config.Translator.Pod(pod, cluster)
	if refused, ok := errors.AsType[*translate.Refused](err); ok {
		return result, refused.Reason, refused.Error()
	}
	if err != nil {
		return result, translate.ReasonUnsupported, err.Error()
	}
	return result, "", ""
}

// adopt takes over the cloud Pod that already has the name: a response was lost, or this program was restarted.
func (p *Provider) adopt(ctx context.Context, pod *corev1.Pod) (time.Duration, error) {
	key := identity.KeyOf(pod)
	cloud, err := p.readCloudPod(ctx, key)
	if err != nil {
		return 0, err
	}
	if cloud == nil {
		return 0, fmt.Errorf("cloud pod %s existed a moment ago and is gone", identity.CloudName(key))
	}
	p.recordCreated(key)
	p.cancelReservation(key)
	p.metrics.adopted.Inc()
	p.config.Recorder.Eventf(pod, corev1.EventTypeNormal, eventAdopted, "Found existing cloud Pod %s", cloud.Name)
	p.report(pod, translate.Status(pod, cloud, p.config.NodeIP, p.now()))
	return 0, nil
}

// mirrorFailed handles a Pod that refers to an object which is not in the cloud yet.
func (p *Provider) mirrorFailed(pod *corev1.Pod, err error) (time.Duration, error) {
	if cci.KindOf(err) != "" {
		return p.createFailed(pod, err)
	}
	if unsupported, ok := errors.AsType[*mirror.Unsupported](err); ok {
		return p.refuse(pod, string(policy.ReasonPersistentVolume), unsupported.Message)
	}
	if apierrors.IsForbidden(err) && p.state(identity.KeyOf(pod)).failures == 0 {
		return 0, err // A moment after the Pod was bound, the API server may not know yet that this node may read this.
	}
	reason := ReasonConfigError
	limited, isLimited := errors.AsType[*mirror.Limited](err)
	if isLimited {
		reason = ReasonMirrorLimit
		if limited.Permanent {
			return p.refuse(pod, reason, limited.Message)
		}
	}
	if _, isMissing := errors.AsType[*mirror.Missing](err); (isMissing || isLimited) && p.recordRefusal(pod, reason) {
		p.config.Recorder.Event(pod, corev1.EventTypeWarning, reason, err.Error())
	}
	p.report(pod, translate.WaitingStatus(pod, reason, err.Error(), p.config.NodeIP, p.now()))
	return 0, err
}

// createFailed handles an error by its kind.
func (p *Provider) createFailed(pod *corev1.Pod, err error) (time.Duration, error) {
	switch cci.KindOf(err) {
	case cci.Permanent:
		return p.refuse(pod, ReasonRefused, err.Error())
	case cci.QuotaExceeded:
		return p.waitForQuota(pod, err)
	case cci.Throttled:
		p.reportWaiting(pod, ReasonThrottled, err)
	case cci.Denied:
		p.reportWaiting(pod, ReasonDenied, err)
	case cci.NotOffered:
		p.reportWaiting(pod, ReasonNotOffered, err)
	default:
		p.reportWaiting(pod, ReasonUnavailable, err)
	}
	return 0, err
}

// reportWaiting reports the error of a Pod that is retried. It does not report the first failure, which is not worth a
// write of the status.
func (p *Provider) reportWaiting(pod *corev1.Pod, reason string, err error) {
	if p.state(identity.KeyOf(pod)).failures == 0 {
		return
	}
	p.report(pod, translate.WaitingStatus(pod, reason, err.Error(), p.config.NodeIP, p.now()))
}

// refuse reports a Pod that cannot run in the cloud. With restartPolicy Always the Pod stays Pending and shows the
// reason: ReplicaSets, StatefulSets and DaemonSets replace a failed Pod at once, and the next one would fail too,
// without end. With other policies the Pod fails: Jobs count failures and give up. A Pod that no size holds fails too,
// as where a kubelet has no room for it: until it has failed, the scheduler counts its requests, and one Pod could take
// all the capacity of the node.
func (p *Provider) refuse(pod *corev1.Pod, reason, message string) (time.Duration, error) {
	p.cancelReservation(identity.KeyOf(pod))
	p.noteRefusal(pod, reason, message)
	always := pod.Spec.RestartPolicy == corev1.RestartPolicyAlways || pod.Spec.RestartPolicy == ""
	if always && p.rules.Fits(&pod.Spec) {
		p.report(pod, translate.WaitingStatus(pod, reason, message, p.config.NodeIP, p.now()))
		p.delayAttempt(identity.KeyOf(pod), p.config.RefusalRetry)
		return p.config.RefusalRetry, nil
	}
	p.report(pod, translate.FailedStatus(pod, nil, reason, message, p.config.NodeIP, p.now()))
	return 0, nil
}

// noteRefusal reports why a Pod has no cloud Pod in an Event, unless the reason is known already.
func (p *Provider) noteRefusal(pod *corev1.Pod, reason, message string) {
	if p.recordRefusal(pod, reason) {
		p.config.Recorder.Event(pod, corev1.EventTypeWarning, reason, message)
		p.metrics.refused.WithLabelValues(reason).Inc()
	}
}
