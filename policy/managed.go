package policy

import corev1 "k8s.io/api/core/v1"

// HasPlacementKeys reports whether the Pod itself says where it runs: by a burst label, or by a local quota. A
// malformed key counts.
func HasPlacementKeys(pod *corev1.Pod) bool {
	_, quota := pod.Annotations[LocalReplicasAnnotation]
	return quota || HasBurstLabel(pod.Labels)
}
