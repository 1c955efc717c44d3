package policy

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy/sizes"
)

// CloudSlot is the value of CloudSlotAnnotation: a Pod may run in the cloud in one size, which counts towards the
// limits of its namespace. The size is part of it because what determines the size can change later, by an edit of
// FlavorAnnotation or a resize, while the slot keeps what was counted.
type CloudSlot struct{ sizes.Flavor }

// Value returns the value of the annotation for a Pod: its UID, so that a copied manifest or a template never has a
// valid slot, and the size, such as "6d2c…/0.50_1.0".
func (s CloudSlot) Value(pod *corev1.Pod) string { return string(pod.UID) + "/" + s.String() }

// CloudSlotOf returns the slot of a Pod. ok is false if the Pod has none, or that of another Pod.
func CloudSlotOf(pod *corev1.Pod) (slot CloudSlot, ok bool) {
	uid, size, _ := strings.Cut(pod.Annotations[CloudSlotAnnotation], "/")
	if uid == "" || uid != string(pod.UID) {
		return CloudSlot{}, false
	}
	flavor, err := sizes.Parse(size)
	return CloudSlot{flavor}, err == nil
}
