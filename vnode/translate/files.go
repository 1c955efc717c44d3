package translate

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// ChangedFiles returns the files of the downward API whose content would differ if the cloud Pod were created from the
// Pod after instead of the Pod before. Keys that Spillway itself writes do not count.
func ChangedFiles(before, after *corev1.Pod) []string {
	var changed []string
	for _, file := range fieldFiles(&after.Spec) {
		path := file.FieldRef.FieldPath
		if content(before, path) != content(after, path) {
			changed = append(changed, file.Path)
		}
	}
	return changed
}

// fieldFiles returns the files of the downward API that show a field of the Pod.
func fieldFiles(spec *corev1.PodSpec) (files []corev1.DownwardAPIVolumeFile) {
	add := func(items []corev1.DownwardAPIVolumeFile) {
		for _, item := range items {
			if item.FieldRef != nil {
				files = append(files, item)
			}
		}
	}
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		switch {
		case v.DownwardAPI != nil:
			add(v.DownwardAPI.Items)
		case v.Projected != nil:
			for _, source := range v.Projected.Sources {
				if source.DownwardAPI != nil {
					add(source.DownwardAPI.Items)
				}
			}
		}
	}
	return files
}

// content returns a text that differs if the content of a file differs. Other fields than labels and annotations do not
// change.
func content(pod *corev1.Pod, path string) string {
	switch path {
	case "metadata.labels":
		return formatMap(pod.Labels)
	case "metadata.annotations":
		return digestOf(pod.Annotations)
	}
	if key, ok := subscript(path, "metadata.labels"); ok {
		return pod.Labels[key]
	}
	if key, ok := subscript(path, "metadata.annotations"); ok {
		return shorten(pod.Annotations[key])
	}
	return ""
}

// digestAnnotation stands for the annotations that Trim has removed. It exists in memory only.
const digestAnnotation = policy.Prefix + "removed-annotations"

// digestOf returns a digest of the annotations, or the one that Trim has put in their place.
func digestOf(annotations map[string]string) string {
	if digest, ok := annotations[digestAnnotation]; ok && isDigest(digest) {
		return digest
	}
	others := map[string]string{}
	for key, value := range annotations {
		if !strings.HasPrefix(key, policy.Prefix) && key != policy.DeletionCostAnnotation {
			others[key] = value
		}
	}
	return digest(formatMap(others))
}

const digestPrefix = "sha256:"

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return digestPrefix + hex.EncodeToString(sum[:])
}

func isDigest(text string) bool {
	return len(text) == len(digestPrefix)+2*sha256.Size && strings.HasPrefix(text, digestPrefix)
}

// shorten returns a short text as it is, and a digest of a longer one. The text of a digest is short.
func shorten(text string) string {
	if len(text) <= len(digestPrefix)+2*sha256.Size {
		return text
	}
	return digest(text)
}

// Trim removes from a Pod what a virtual node does not need of it, because its cache holds thousands of Pods, and users
// decide how large each is. It is a transform of informers: it changes its argument, and it may get the same Pod
// twice.
//
// A Pod that has not run may still have to be translated, with all that it has, except what kubectl apply keeps for
// itself. A Pod that has run is never translated again: of its annotations the keys of Spillway remain, and digests
// of those that ChangedFiles compares.
func Trim(obj any) (any, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return obj, nil
	}
	pod.ManagedFields = nil
	files := fieldFiles(&pod.Spec)
	all := slices.ContainsFunc(files, func(file corev1.DownwardAPIVolumeFile) bool {
		return file.FieldRef.FieldPath == "metadata.annotations"
	})
	if !HasRun(pod) {
		if !all {
			delete(pod.Annotations, corev1.LastAppliedConfigAnnotation)
		}
		return pod, nil
	}
	kept := map[string]string{}
	if all {
		kept[digestAnnotation] = digestOf(pod.Annotations)
	}
	for _, file := range files {
		if key, ok := subscript(file.FieldRef.FieldPath, "metadata.annotations"); ok {
			kept[key] = shorten(pod.Annotations[key])
		}
	}
	for _, key := range usedAnnotations {
		if value, ok := pod.Annotations[key]; ok && len(value) <= maxUsed {
			kept[key] = value
		}
	}
	pod.Annotations = kept
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			c := &containers[i]
			c.Command, c.Args = nil, nil
			for j := range c.Env {
				c.Env[j].Value = ""
			}
		}
	}
	return pod, nil
}

// usedAnnotations are the annotations that a virtual node reads of Pods that have run. maxUsed is the maximum length in
// bytes of a value that is kept.
var usedAnnotations = []string{
	policy.OnSoldOutAnnotation, policy.CloudSlotAnnotation, policy.FlavorAnnotation, policy.ServicesAnnotation,
	policy.SwitchKey,
}

const maxUsed = 256

// HasRun reports whether the status of a Pod shows that it has had a cloud Pod with an address or a container.
func HasRun(pod *corev1.Pod) bool {
	if pod.Status.PodIP != "" {
		return true
	}
	return slices.ContainsFunc(
		slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses),
		func(s corev1.ContainerStatus) bool {
			return s.ContainerID != "" || s.State.Running != nil || s.State.Terminated != nil
		})
}
