package soldout

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

const (
	// probeDeadline is how long a probe may run. The cloud then ends it itself: a probe that a crashed vnode left behind
	// does not cost anything for longer.
	probeDeadline = 5 * time.Minute
	// probePause is the number of timeouts after which another probe may follow, unless the node has been locked
	// meanwhile. Without a pause, one Pod that waits forever would have a probe running all the time.
	probePause = 3
)

// probe is a cloud Pod of the smallest size. It shows whether the cloud has room, which no user can influence. There is
// at most one, because its name is fixed. It is deleted as soon as it has found room.
type probe struct {
	// gone: the cloud has no probe. It is false at the start, because a former process may have left one.
	gone bool
	// since is when the probe was created or first seen.
	since time.Time
	// next is when another probe may be created.
	next time.Time
	// refusal is what the cloud said when it last refused a probe for a quota, empty if it accepted one since then.
	// accepted: the cloud has accepted this probe. acceptedAt is when it last accepted one.
	refusal    string
	accepted   bool
	acceptedAt time.Time
}

// NewProbe returns the cloud Pod that finds out whether the cloud has room. Its image is never needed: the Pod is
// deleted as soon as it has an address, which is before the image is pulled.
func NewProbe(translator *translate.Translator, owner identity.Owner, image string) (*cci.Pod, error) {
	smallest := sizes.Flavors()[0].Resources()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "spillway", Name: "probe", UID: "probe",
			Annotations: map[string]string{policy.ServicesAnnotation: string(policy.ServicesOff)},
		},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{
				Name: "probe", Image: image,
				Resources: corev1.ResourceRequirements{Requests: smallest, Limits: smallest},
			}},
			RestartPolicy:                 corev1.RestartPolicyNever,
			ActiveDeadlineSeconds:         new(int64(probeDeadline.Seconds())),
			TerminationGracePeriodSeconds: new(int64),
			AutomountServiceAccountToken:  new(bool),
		},
	}
	result, err := translator.Pod(pod, translate.Cluster{})
	if err != nil {
		return nil, fmt.Errorf("creating the sold-out probe: %w", err)
	}
	owner.MarkProbe(&result.Pod.ObjectMeta)
	return result.Pod, nil
}

// wantsProbe reports whether a probe must show if the cloud has room: a Pod with an owner has waited for half of the
// timeout, or is reported as sold out, and no Pod has found room meanwhile. The probe has the other half, so the node
// is locked after the timeout.
func (c *Controller) wantsProbe() bool {
	for _, w := range c.waiting {
		if w.scheduled || !hasOwner(c.podOf(w)) {
			continue
		}
		quiet := c.config.Now().Sub(latest(w.since, c.lastAddress, c.opened))
		sign := c.hasSign(w) && !w.since.Before(latest(c.lastAddress, c.opened))
		if sign || quiet >= c.config.Timeout/2 {
			return true
		}
	}
	return false
}

// wantsQuotaProbe reports whether a probe must show if a quota has room: the cloud has refused a Pod with an owner for
// a quota since the node was opened, and has accepted no probe since then.
func (c *Controller) wantsQuotaProbe() bool {
	for _, w := range c.refused {
		if !w.since.Before(c.opened) && w.since.After(c.probe.acceptedAt) && hasOwner(c.podOf(w)) {
			return true
		}
	}
	return false
}

// updateProbe creates, reads or deletes the probe, which is wanted to show whether the cloud has room, and whether a
// quota has. It reports whether the probe finds no room.
func (c *Controller) updateProbe(ctx context.Context, forRoom, forQuota bool) (waits bool, err error) {
	switch {
	case !forRoom && !forQuota:
		c.probe.refusal = ""
		return false, c.removeProbe(ctx)
	case !c.probe.gone && !forRoom: // The cloud has accepted it, which is enough.
		return false, c.removeProbe(ctx)
	case !c.probe.gone:
		return c.readProbe(ctx)
	case c.config.Now().Before(c.probe.next):
		return false, nil
	}
	return false, c.createProbe(ctx, forRoom)
}

// createProbe creates the probe.
func (c *Controller) createProbe(ctx context.Context, forRoom bool) error {
	c.config.Logger.Info("Pods find no room in the cloud: creating a probe", "cloud", c.config.Probe.Name)
	c.metrics.probes.Inc()
	_, err := c.config.API.CreatePod(ctx, c.config.CloudNamespace, c.config.Probe)
	now, pause := c.config.Now(), c.config.Timeout
	if forRoom {
		pause *= probePause
	}
	accepted := c.probe.acceptedAt
	switch {
	case cci.IsQuotaExceeded(err): // It costs nothing, so the next one need not wait for as long.
		c.probe = probe{gone: true, next: now.Add(c.config.Timeout / 2), acceptedAt: accepted, refusal: err.Error()}
		return nil
	case err == nil:
		c.probe = probe{since: now, next: now.Add(pause), accepted: true, acceptedAt: now}
		return nil
	}
	// The cloud may have created it.
	c.probe = probe{since: now, next: now.Add(pause), acceptedAt: accepted}
	if cci.IsTaken(err) {
		return nil
	}
	return fmt.Errorf("creating the sold-out probe: %w", err)
}

// readProbe reads the probe. If it has found room, it is deleted.
func (c *Controller) readProbe(ctx context.Context) (waits bool, err error) {
	pod, err := c.config.API.GetPod(ctx, c.config.CloudNamespace, c.config.Owner.ProbeName())
	if cci.IsNotFound(err) {
		c.probe.gone = true
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the sold-out probe: %w", err)
	}
	now := c.config.Now()
	if c.probe.since.IsZero() || pod.DeletionTimestamp != nil { // That of a former process, or one that is being deleted.
		c.probe.since = now
	}
	scheduled, status := isScheduled(pod)
	if scheduled || pod.HasAddress() || pod.Status.Phase == corev1.PodRunning || isFinished(pod) {
		c.noteRoom(c.probeSize())
		return false, c.removeProbe(ctx)
	}
	return c.isSign(status.reason) || now.Sub(c.probe.since) >= c.config.Timeout/2, nil
}

// removeProbe deletes the probe, also one that a former process has left.
func (c *Controller) removeProbe(ctx context.Context) error {
	if c.probe.gone {
		return nil
	}
	options := cci.DeleteOptions{GraceSeconds: new(int64)}
	err := c.config.API.DeletePod(ctx, c.config.CloudNamespace, c.config.Owner.ProbeName(), options)
	if err != nil && !cci.IsNotFound(err) {
		return fmt.Errorf("deleting the sold-out probe: %w", err)
	}
	c.probe.gone = true
	return nil
}

func (c *Controller) probeSize() string { return translate.SizeOf(c.config.Probe) }

func isFinished(pod *cci.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}
