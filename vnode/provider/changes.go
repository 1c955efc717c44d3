package provider

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// warnAboutUpdate reports what a cloud Pod cannot follow of an update of its Pod.
func (p *Provider) warnAboutUpdate(before, after any) {
	old, okOld := before.(*corev1.Pod)
	pod, ok := after.(*corev1.Pod)
	if !okOld || !ok || old.UID != pod.UID {
		return
	}
	p.warnAboutDebugging(old, pod)
	if p.inventory.Get(identity.KeyOf(pod)) != nil {
		p.warnAboutChanges(old, pod)
	}
}

// warnAboutChanges reports the differences between a Pod and the Pod from which its cloud Pod was created.
func (p *Provider) warnAboutChanges(old, pod *corev1.Pod) {
	p.warnAboutImages(old, pod)
	p.warnAboutFiles(old, pod)
	p.warnAboutBurst(old, pod)
}

// warnAboutDebugging reports that a container which kubectl debug has added will not start.
func (p *Provider) warnAboutDebugging(old, pod *corev1.Pod) {
	known := min(len(old.Spec.EphemeralContainers), len(pod.Spec.EphemeralContainers))
	for _, c := range pod.Spec.EphemeralContainers[known:] {
		p.config.Recorder.Eventf(pod, corev1.EventTypeWarning, eventNoDebugging,
			"Container %s will not start: %s", c.Name, translate.NoDebugging)
	}
}

// warnAboutImages reports that an image that was changed in place stays the same in the cloud. Users do that,
// workload controllers do not.
func (p *Provider) warnAboutImages(old, pod *corev1.Pod) {
	if len(old.Spec.Containers) != len(pod.Spec.Containers) {
		return
	}
	for i, c := range pod.Spec.Containers {
		if was := old.Spec.Containers[i].Image; was != c.Image {
			p.config.Recorder.Eventf(pod, corev1.EventTypeWarning, eventImageKept,
				"Container %s keeps image %s in the cloud: a new image needs a new Pod", c.Name, was)
		}
	}
}

// warnAboutBurst reports that a changed burst label or switch does not move the Pod.
func (p *Provider) warnAboutBurst(old, pod *corev1.Pod) {
	for _, key := range []string{policy.BurstLabel, policy.BurstLabelAlias} {
		p.warnAboutKey(pod, key, old.Labels[key], pod.Labels[key])
	}
	p.warnAboutKey(pod, policy.SwitchKey, old.Annotations[policy.SwitchKey], pod.Annotations[policy.SwitchKey])
}

func (p *Provider) warnAboutKey(pod *corev1.Pod, key, was, is string) {
	if is == was {
		return
	}
	p.config.Recorder.Eventf(pod, corev1.EventTypeNormal, eventStays,
		"%s is %.100q now, and the Pod stays in the cloud: the key has an effect when a Pod is created; set it in the "+
			"Pod template, and the workload creates its next Pods accordingly", key, is)
}

// warnAboutFiles reports once that files of the downward API keep what they show.
func (p *Provider) warnAboutFiles(old, pod *corev1.Pod) {
	changed := translate.ChangedFiles(old, pod)
	if len(changed) == 0 || !p.recordOnce(identity.KeyOf(pod), func(s *podState) *bool { return &s.filesKept }) {
		return
	}
	p.config.Recorder.Eventf(pod, corev1.EventTypeWarning, eventFilesKept,
		"The containers do not see the changed labels or annotations: these files of the downward API keep the values "+
			"from the creation of the cloud Pod: %s", policy.Clip(strings.Join(changed, ", "), policy.MaxMessage/2))
}

// warnAboutResize reports once that a resize has no effect. The condition in the status says so too.
func (p *Provider) warnAboutResize(pod *corev1.Pod, status *corev1.PodStatus) {
	i := slices.IndexFunc(status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodResizePending
	})
	key := identity.KeyOf(pod)
	if i < 0 {
		p.updateKnown(key, func(s *podState) { s.resizeRefused = false })
		return
	}
	if p.recordOnce(key, func(s *podState) *bool { return &s.resizeRefused }) {
		p.config.Recorder.Event(pod, corev1.EventTypeWarning, eventResizeRefused, status.Conditions[i].Message)
	}
}
