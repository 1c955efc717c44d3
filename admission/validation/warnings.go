package validation

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// warnings say what is legal and will not do what it says.
func (v *Validator) warnings(namespace string, s *Subject) []string {
	found := misplaced(s)
	if s.kind == "DaemonSet" {
		return append(found, onDaemonSet(s)...)
	}
	mode := s.mode()
	found = append(found, againstLabel(s, mode)...)
	found = append(found, onGroup(s, mode)...)
	if s.kind == "Pod" && mode == policy.ModeEnforce {
		return found // Its hostPath volumes have been replaced by now, and why it stays at home was said then (admission/webhook).
	}
	found = append(found, replacements(s)...)
	if mode == policy.ModeEnforce {
		found = append(found, v.neverThere(namespace, s)...)
	}
	return found
}

// mode is the burst mode that the Pods will have from the subject; a malformed label is none.
func (s *Subject) mode() policy.Mode {
	for _, at := range slices.Backward(s.places()) {
		if mode, err := policy.ParseMode(at.meta.Labels); err != nil || mode != policy.ModeNone {
			if err != nil {
				return policy.ModeNone
			}
			return mode
		}
	}
	return policy.ModeNone
}

// podAnnotations are read on Pods only.
var podAnnotations = []string{policy.LocalReplicasAnnotation, policy.SwitchKey, policy.HostPathReplacementAnnotation}

// misplaced finds annotations for Pods on what makes the Pods, and keys that are labels among annotations or the other way round.
func misplaced(s *Subject) []string {
	var found []string
	for _, at := range s.places() {
		for _, key := range []string{policy.BurstLabel, policy.BurstLabelAlias} {
			if _, ok := at.meta.Annotations[key]; ok {
				found = append(found, fmt.Sprintf("%s: means nothing as an annotation: write it to %s", at.path.Child("annotations").Key(key), at.path.Child("labels")))
			}
		}
		for _, key := range podAnnotations {
			if _, ok := at.meta.Labels[key]; ok {
				found = append(found, fmt.Sprintf("%s: means nothing as a label: write it to %s", at.path.Child("labels").Key(key), s.pod.path.Child("annotations")))
			}
		}
	}
	for _, at := range s.owners {
		for _, key := range podAnnotations {
			if _, ok := at.meta.Annotations[key]; ok {
				found = append(found, fmt.Sprintf("%s: means nothing here: write it to %s",
					at.path.Child("annotations").Key(key), s.pod.path.Child("annotations")))
			}
		}
	}
	return found
}

func onDaemonSet(s *Subject) []string {
	var found []string
	for _, key := range podAnnotations {
		if _, ok := s.pod.meta.Annotations[key]; ok {
			found = append(found, fmt.Sprintf("%s: means nothing on a DaemonSet: its Pods run on local nodes only", s.pod.path.Child("annotations").Key(key)))
		}
	}
	for _, at := range s.places() {
		if mode, err := policy.ParseMode(at.meta.Labels); err == nil && mode != policy.ModeNone && mode != policy.ModeOff {
			found = append(found, fmt.Sprintf("%s: the burst label %s means nothing on a DaemonSet: its Pods run on local nodes only", at.path.Child("labels"), mode))
		}
	}
	return found
}

// onGroup finds a quota for Pods that the scheduler places as a group.
func onGroup(s *Subject, mode policy.Mode) []string {
	_, hasQuota := s.pod.meta.Annotations[policy.LocalReplicasAnnotation]
	if !hasQuota || s.spec.SchedulingGroup == nil || mode == policy.ModeEnforce || mode == policy.ModeOff {
		return nil
	}
	return []string{fmt.Sprintf("%s: the Pods stay on local nodes: %s", s.pod.path.Child("annotations").Key(policy.LocalReplicasAnnotation), policy.GroupQuota)}
}

// againstLabel finds annotations that the burst label makes meaningless.
func againstLabel(s *Subject, mode policy.Mode) []string {
	if mode == policy.ModeNone {
		return nil
	}
	var found []string
	annotations := s.pod.path.Child("annotations")
	if _, ok := s.pod.meta.Annotations[policy.SwitchKey]; ok {
		found = append(found, fmt.Sprintf("%s: means nothing beside the burst label %s: the label wins", annotations.Key(policy.SwitchKey), mode))
	}
	_, quota, _ := policy.ParseLocalReplicas(s.pod.meta.Annotations)
	if quota && mode == policy.ModeEnforce {
		found = append(found, fmt.Sprintf("%s: means nothing with the burst label enforce: every replica goes to the cloud; localPrefer keeps the quota at home",
			annotations.Key(policy.LocalReplicasAnnotation)))
	}
	if quota && mode == policy.ModeOff {
		found = append(found, fmt.Sprintf("%s: means nothing with the burst label off: every replica stays at home", annotations.Key(policy.LocalReplicasAnnotation)))
	}
	return found
}

// replacements finds those that name no hostPath volume of the Pod.
func replacements(s *Subject) []string {
	list, err := policy.ParseReplacements(s.pod.meta.Annotations)
	if err != nil {
		return nil
	}
	var found []string
	for i, r := range list {
		there := slices.ContainsFunc(s.spec.Volumes, func(volume corev1.Volume) bool {
			return volume.HostPath != nil && (volume.Name == r.Name || r.Name == policy.AnyVolume)
		})
		if !there {
			found = append(found, fmt.Sprintf("%s[%d].name: %q is no hostPath volume of the Pod: the replacement means nothing",
				s.pod.path.Child("annotations").Key(policy.HostPathReplacementAnnotation), i, r.Name))
		}
	}
	return found
}

// neverThere finds why Pods that must run in the cloud never can. What is not known yet of claims is left out.
func (v *Validator) neverThere(namespace string, s *Subject) []string {
	pod := s.asPod(namespace)
	if _, err := policy.ParseReplacements(pod.Annotations); err != nil {
		return nil // That is a fault, and it says all.
	}
	claims, unknown := v.facts.Claims(pod), map[string]bool{}
	for name, volume := range policy.Claims(pod) {
		unknown[volume.Name] = claims[name] == ""
	}
	pod.Spec.Volumes = slices.DeleteFunc(slices.Clone(pod.Spec.Volumes), func(volume corev1.Volume) bool { return unknown[volume.Name] })
	var found []string
	for _, violation := range v.policy.Restrictions(policy.Input{Pod: pod, Claims: claims}) {
		found = append(found, fmt.Sprintf("%s: the burst label says enforce, but the cloud cannot run this Pod, so it stays at home: %s: %s",
			s.specPath(), violation.Reason, violation.Message))
	}
	return found
}
