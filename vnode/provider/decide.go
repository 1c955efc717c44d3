package provider

import (
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

var errUndecided = errors.New("the switch and the namespaces of the cluster are not known yet")

// decide asks policy the whole question once more. A Pod reaches the node without the webhook and the extender by its
// nodeName, by a toleration that is added behind a scheduling gate, or as a Pod that claims to belong to a DaemonSet.
// And the switch may change between the binding and the creation. refused is nil if the Pod may run in the cloud.
//
// The labels of the workload are not known here: the webhook has written them to the Pod. If it has not, because the
// Pod was created with a nodeName or the webhook was down, the label of the namespace and the switch decide.
func (p *Provider) decide(
	pod *corev1.Pod,
) (settings policy.NamespaceSettings, refused *policy.Decision, err error) {
	if !p.config.Facts.Ready() {
		return settings, nil, errUndecided
	}
	annotations, err := p.config.Facts.Namespace(pod.Namespace)
	if err != nil {
		return settings, nil, err
	}
	decision, settings := p.rules.DecideWithSettings(policy.Input{
		Pod: pod, Global: p.config.Facts.Global(),
		NamespaceLabels: p.config.Facts.NamespaceLabels(pod.Namespace), NamespaceAnnotations: annotations,
	})
	if !decision.MayBurst() {
		return settings, &decision, nil
	}
	return settings, nil, nil
}

// held are the reasons that say nothing about the Pod itself: it waits until an administrator changes something, and
// does not fail, whatever its restartPolicy.
var held = []policy.Reason{
	policy.ReasonSwitchOff, policy.ReasonCloudForbidden, policy.ReasonInvalidNamespace, policy.ReasonCloudLimits,
	policy.ReasonNotCounted,
}

// refuseDecided reports a Pod that policy keeps out of the cloud.
func (p *Provider) refuseDecided(pod *corev1.Pod, decision policy.Decision) (time.Duration, error) {
	reason := string(decision.Reason)
	if !slices.Contains(held, decision.Reason) || !p.rules.Fits(&pod.Spec) {
		return p.refuse(pod, reason, decision.Message)
	}
	message := policy.Summary([]string{
		decision.Message, "if you delete the Pod, its owner creates it again where it may run",
	})
	p.cancelReservation(identity.KeyOf(pod))
	p.noteRefusal(pod, reason, message)
	p.report(pod, translate.WaitingStatus(pod, reason, message, p.config.NodeIP, p.now()))
	return p.config.RefusalRetry, nil
}
