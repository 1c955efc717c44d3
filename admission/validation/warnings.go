package validation

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/internal/schedulers"
	"github.com/spillway-k8s/spillway/policy"
)

// warnings returns what is legal but has no effect. old is the previous version, nil at creation.
func (v *Validator) warnings(namespace string, s, old *Subject) []string {
	found := append(misplaced(s), mistyped(s.places()...)...)
	if old != nil && s.kind == "Pod" && s.spec.NodeName != "" {
		return append(found, onBoundPod(s, old)...)
	}
	if s.kind == "DaemonSet" {
		return append(found, onDaemonSet(s)...)
	}
	mode := s.mode()
	found = append(found, againstLabel(s, mode)...)
	found = append(found, v.leftWaiting(namespace, s, mode)...)
	found = append(found, onGroup(s, mode)...)
	found = append(found, withoutController(s, mode)...)
	if s.kind == "Pod" && mode == policy.ModeEnforce {
		// The mutating webhook has replaced the hostPath volumes already, and has warned if the Pod stays on local
		// nodes.
		return found
	}
	found = append(found, v.otherScheduler(s, mode)...)
	found = append(found, replacements(s)...)
	if request := s.request(mode); request != "" && s.kind != "Pod" { // The mutating webhook warns about a Pod.
		found = append(found, v.restrictions(namespace, s, request)...)
	}
	return found
}

// request says how the subject requests that its Pods burst. It is empty if it does not.
func (s *Subject) request(mode policy.Mode) string {
	own, _ := s.settings(nil)
	shares, sharesErr := policy.ParseShares(own)
	local, switchErr := policy.ParseSwitch(s.pod.meta.Annotations)
	switch {
	case mode == policy.ModeOff:
		return ""
	case mode != policy.ModeNone:
		return "the burst label is " + string(mode)
	case sharesErr == nil && shares.LocalReplicas.Set:
		return "the Pods have " + policy.LocalReplicasAnnotation
	case sharesErr == nil && !shares.IsZero():
		return "the Pods have " + shares.String()
	case local == policy.SwitchOn && switchErr == nil:
		return policy.SwitchKey + " is true"
	}
	return ""
}

// mode returns the burst mode that the subject gives its Pods, ModeNone if the label is malformed.
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

// misplaced finds annotations for Pods on the owners of Pods, labels that are set as annotations, annotations that are
// set as labels, and annotations for Namespaces.
func misplaced(s *Subject) []string {
	var found []string
	for _, at := range s.places() {
		for _, key := range []string{policy.BurstLabel, policy.BurstLabelAlias} {
			if _, ok := at.meta.Annotations[key]; ok {
				found = append(found, fmt.Sprintf("%s: has no effect as an annotation: set the label in %s",
					at.path.Child("annotations").Key(key), at.path.Child("labels")))
			}
		}
		for _, key := range policy.PodAnnotations() {
			if _, ok := at.meta.Labels[key]; ok {
				found = append(found, fmt.Sprintf("%s: has no effect as a label: set the annotation in %s",
					at.path.Child("labels").Key(key), s.pod.path.Child("annotations")))
			}
		}
	}
	for _, at := range s.places() {
		for _, key := range policy.NamespaceAnnotations() {
			if _, ok := at.meta.Annotations[key]; ok {
				found = append(found, fmt.Sprintf("%s: has no effect here: an administrator of the cluster sets it "+
					"on the Namespace", at.path.Child("annotations").Key(key)))
			}
		}
	}
	return append(found, onOwners(s)...)
}

// onOwners finds annotations on the owners of Pods that have an effect on Pods only, and those that a nearer place
// hides.
func onOwners(s *Subject) []string {
	var found []string
	for i, at := range s.owners {
		for _, key := range policy.PodAnnotations() {
			if _, ok := at.meta.Annotations[key]; !ok {
				continue
			}
			path := at.path.Child("annotations").Key(key)
			if !slices.Contains(policy.InheritedAnnotations(), key) {
				found = append(found, fmt.Sprintf("%s: has no effect here: set it in %s", path,
					s.pod.path.Child("annotations")))
				continue
			}
			for _, nearer := range s.places()[i+1:] {
				if _, ok := nearer.meta.Annotations[key]; ok {
					found = append(found, fmt.Sprintf("%s: has no effect, because %s takes precedence", path,
						nearer.path.Child("annotations").Key(key)))
					break
				}
			}
		}
	}
	return found
}

// maxMistyped is how many mistyped keys warnings name: an object can have thousands.
const maxMistyped = 10

// mistyped finds keys that are meant for Spillway and that it does not have.
func mistyped(places ...place) []string {
	var found []string
	for _, at := range places {
		for _, keys := range []struct {
			path   *field.Path
			values map[string]string
		}{{at.path.Child("annotations"), at.meta.Annotations}, {at.path.Child("labels"), at.meta.Labels}} {
			for _, key := range slices.Sorted(maps.Keys(keys.values)) {
				similar, ok := policy.Mistyped(key)
				if !ok {
					continue
				}
				found = append(found, fmt.Sprintf("%s: has no effect, because Spillway has no such key: the most "+
					"similar one is %s", keys.path.Key(policy.Clip(key, policy.MaxMessage/2)), similar))
				if len(found) == maxMistyped {
					return found
				}
			}
		}
	}
	return found
}

// onBoundPod finds burst labels and switches that are set on a Pod which has its node already.
func onBoundPod(s, old *Subject) []string {
	var found []string
	add := func(path *field.Path, is, was map[string]string, keys ...string) {
		for _, key := range keys {
			if value, ok := is[key]; ok && value != was[key] {
				found = append(found, fmt.Sprintf("%s: has an effect when a Pod is created: this one stays on node "+
					"%s; set it in the Pod template, and the workload creates its next Pods accordingly", path.Key(key),
					s.spec.NodeName))
			}
		}
	}
	is, was := s.pod.meta, old.pod.meta
	add(s.pod.path.Child("labels"), is.Labels, was.Labels, policy.BurstLabel, policy.BurstLabelAlias)
	add(s.pod.path.Child("annotations"), is.Annotations, was.Annotations, policy.SwitchKey)
	return found
}

// onDaemonSet finds keys on a DaemonSet.
func onDaemonSet(s *Subject) []string {
	var found []string
	for _, key := range policy.PodAnnotations() {
		for _, at := range s.places() {
			_, ok := at.meta.Annotations[key]
			if ok && (at.path == s.pod.path || slices.Contains(policy.InheritedAnnotations(), key)) {
				found = append(found, fmt.Sprintf("%s: has no effect on a DaemonSet: its Pods run on local nodes only",
					at.path.Child("annotations").Key(key)))
			}
		}
	}
	for _, at := range s.places() {
		if mode, err := policy.ParseMode(at.meta.Labels); err == nil && mode != policy.ModeNone &&
			mode != policy.ModeOff {
			found = append(found, fmt.Sprintf("%s: the burst label %s has no effect on a DaemonSet: "+
				"its Pods run on local nodes only", at.path.Child("labels"), mode))
		}
	}
	return found
}

// onGroup finds a quota on Pods that the scheduler places as a group.
func onGroup(s *Subject, mode policy.Mode) []string {
	if s.spec.SchedulingGroup == nil || mode == policy.ModeEnforce || mode == policy.ModeOff {
		return nil
	}
	_, paths := s.settings(nil)
	for _, key := range policy.ShareAnnotations() {
		if paths[key] != nil {
			return []string{fmt.Sprintf("%s: the Pods stay on local nodes: %s", paths[key], policy.GroupQuota)}
		}
	}
	if at := paths[policy.BurstAfterAnnotation]; at != nil {
		return []string{fmt.Sprintf("%s: has no effect on Pods of a scheduling group", at)}
	}
	return nil
}

// withoutController finds a quota of a Pod that belongs to no workload. With the quota 0, the Pod runs in the cloud
// only.
func withoutController(s *Subject, mode policy.Mode) []string {
	shares, err := policy.ParseShares(s.pod.meta.Annotations)
	quota, hasQuota := shares.LocalReplicas.Value, shares.LocalReplicas.Set
	if s.kind != "Pod" || !hasQuota || err != nil || quota == 0 || metav1.GetControllerOfNoCopy(&s.pod.meta) != nil ||
		mode == policy.ModeEnforce || mode == policy.ModeOff {
		return nil
	}
	return []string{fmt.Sprintf("%s: counts this Pod alone, because it has no controller: it runs on a local node, or "+
		"in the cloud if none fits; set the quota in the Pod template of a workload, such as a Deployment",
		s.pod.path.Child("annotations").Key(policy.LocalReplicasAnnotation))}
}

// againstLabel finds annotations that the burst label overrides.
func againstLabel(s *Subject, mode policy.Mode) []string {
	if mode == policy.ModeNone {
		return nil
	}
	var found []string
	annotations := s.pod.path.Child("annotations")
	if _, ok := s.pod.meta.Annotations[policy.SwitchKey]; ok {
		found = append(found, fmt.Sprintf("%s: has no effect together with the burst label %s, which overrides it",
			annotations.Key(policy.SwitchKey), mode))
	}
	return append(found, withoutEffect(s, mode)...)
}

// otherScheduler finds Pods that ask to burst and name a scheduler that does not call the extender. The mutating
// webhook warns about Pods themselves.
func (v *Validator) otherScheduler(s *Subject, mode policy.Mode) []string {
	own, _ := s.settings(nil)
	text := v.schedulers.Warn(s.spec.SchedulerName, mode, policy.HasShares(own), false)
	if shares, err := policy.ParseShares(own); err == nil && mode != policy.ModeOff &&
		(shares.LocalMin.Set || shares.CloudMax.Set) && !v.schedulers.Call(s.spec.SchedulerName) {
		text = schedulers.CannotCount(s.spec.SchedulerName).String()
	}
	if s.kind == "Pod" || text == "" {
		return nil
	}
	return []string{s.specPath().Child("schedulerName").String() + ": " + text}
}

// replacements finds replacements that match no hostPath volume of the Pod.
func replacements(s *Subject) []string {
	list, err := policy.ParseReplacements(s.pod.meta.Annotations)
	if err != nil {
		return nil
	}
	var found []string
	for i, r := range list {
		matches := slices.ContainsFunc(s.spec.Volumes, func(volume corev1.Volume) bool {
			return volume.HostPath != nil && (volume.Name == r.Name || r.Name == policy.AnyVolume)
		})
		if !matches {
			found = append(found, fmt.Sprintf("%s[%d].name: %q matches no hostPath volume of the Pod: the replacement "+
				"has no effect", s.pod.path.Child("annotations").Key(policy.HostPathReplacementAnnotation), i, r.Name))
		}
	}
	return found
}

// restrictions finds why Pods that request to burst cannot. It ignores claims whose kind is not known yet.
func (v *Validator) restrictions(namespace string, s *Subject, request string) []string {
	pod := s.asPod(namespace)
	if _, err := policy.ParseReplacements(pod.Annotations); err != nil {
		return nil // errors reports that.
	}
	claims, unknown := v.facts.Claims(pod), map[string]bool{}
	for name, volume := range policy.Claims(pod) {
		unknown[volume.Name] = claims[name] == ""
	}
	pod.Spec.Volumes = slices.DeleteFunc(slices.Clone(pod.Spec.Volumes),
		func(volume corev1.Volume) bool { return unknown[volume.Name] })
	pod = v.policy.IgnoredSelectors().Ignore(pod) // As the webhook does when it creates the Pods.
	var found []string
	for _, violation := range v.policy.Restrictions(policy.Input{Pod: pod, Claims: claims, Nodes: v.nodes.Ours()}) {
		found = append(found, fmt.Sprintf("%s: %s, but the cloud cannot run this Pod, so it "+
			"stays on local nodes: %s: %s", s.specPath(), request, violation.Reason, violation.Message))
	}
	return found
}
