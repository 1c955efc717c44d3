package policy

import corev1 "k8s.io/api/core/v1"

// HasPlacementKeys reports whether the Pod itself says where it runs: by a burst label, or by shares. A malformed key
// counts.
func HasPlacementKeys(pod *corev1.Pod) bool {
	return HasShares(pod.Annotations) || HasBurstLabel(pod.Labels)
}
