package controllers

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/admission/verdict"
	"github.com/spillway-k8s/spillway/policy"
)

// malformed is what a Pod with malformed keys is told: it got past the validation, and nobody else tells its user.
func malformed(v verdict.Verdict) event {
	words := make([]string, 0, len(v.Faults))
	for _, fault := range v.Faults {
		words = append(words, strings.ReplaceAll(fault.Error(), "\n", "; ")) // Joined errors have a line each.
	}
	instead := "; it is ignored: where this Pod runs does not depend on it"
	if v.Off {
		instead = "; until that is right the Pod is treated as off: it does not burst"
	}
	return event{corev1.EventTypeWarning, policy.ReasonInvalid, strings.Join(words, "; ") + instead}
}

// remake is what a Pod that is kept home by its node affinity can do about it.
const remake = "its node affinity keeps it at home, which the webhook writes on Pods that tolerate every taint and may not burst when they are created: " +
	"delete it to have it made again"

// mayNotBurst is why a Pod has to wait for a local node.
func mayNotBurst(pod *corev1.Pod, v verdict.Verdict) event {
	ev := event{corev1.EventTypeNormal, v.Reason, "no local node fits, and the Pod may not run on virtual nodes: " + v.Message}
	if v.Keyed && !v.Off && v.Forbidden() {
		ev.kind = corev1.EventTypeWarning
	}
	if !v.Forbidden() && policy.AvoidsVirtualNodes(&pod.Spec) {
		ev.message += "; and then " + remake
	}
	return ev
}

// whyWaiting is what the scheduler's condition may not say of a Pod that waits though it may burst and tolerates virtual nodes; ok is false
// where it says all. Where no node fits at all, the scheduler asks the extender about preemption only, and that answer has no words.
func (t *Tolerate) whyWaiting(pod *corev1.Pod, v verdict.Verdict) (ev event, ok bool) {
	if policy.AvoidsVirtualNodes(&pod.Spec) {
		return event{corev1.EventTypeNormal, policy.ReasonKeptLocal, "no local node fits; the Pod may burst, but " + remake}, true
	}
	if v.Quota == nil || t.pods.replicas(policy.RevisionOf(pod), t.nodes.has) < *v.Quota {
		return event{}, false
	}
	return event{corev1.EventTypeNormal, policy.ReasonLocalQuota, fmt.Sprintf("this revision has its %s=%d at home, and no virtual node can take the Pod now; "+
		"nobody at home is evicted for it; it is tried again when a local replica goes or a virtual node has room", policy.LocalReplicasAnnotation, *v.Quota)}, true
}
