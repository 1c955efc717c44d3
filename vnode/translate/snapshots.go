package translate

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Annotations that start a Pod from a snapshot of its images. Source: CCI manual, "Using an Image Snapshot".
const (
	snapshotMatchAnnotation = "cci.io/image-snapshot-auto-match"
	snapshotNameAnnotation  = "cci.io/image-snapshot-specified-name"
)

// useSnapshots lets the cloud look for a snapshot, if that is configured and the Pod does not choose itself. It refuses
// a Pod that names a snapshot and lets the cloud look for one: the cloud answers 400 if the two differ.
func (b *builder) useSnapshots(annotations map[string]string) {
	match, chosen := annotations[snapshotMatchAnnotation]
	name, named := annotations[snapshotNameAnnotation]
	switch {
	case match == "true" && named:
		b.refuse("annotation %s names image snapshot %s, and %s lets the cloud choose one: remove one of them",
			snapshotNameAnnotation, name, snapshotMatchAnnotation)
	case b.translator.config.MatchSnapshots && !chosen && !named:
		annotations[snapshotMatchAnnotation] = "true"
	}
}

// SnapshotImages returns the images of a Pod, by their names in the cloud, of which a snapshot may be made. All Pods of
// the account can start from a snapshot, so images of a Pod with credentials of its own are left out. So are those that
// the Pod always pulls: their tags move. Only images that the cloud has pulled are returned: no snapshot is made of a
// name that no registry has.
func (t *Translator) SnapshotImages(pod *corev1.Pod) []string {
	own := func(secret corev1.LocalObjectReference) bool {
		return secret.Name == "" || t.isOwnPullSecret(secret.Name)
	}
	if slices.ContainsFunc(pod.Spec.ImagePullSecrets, func(s corev1.LocalObjectReference) bool { return !own(s) }) {
		return nil
	}
	pulled := map[string]bool{}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		pulled[status.Name] = status.State.Running != nil || status.State.Terminated != nil
	}
	var images []string
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if pulled[c.Name] && c.ImagePullPolicy != corev1.PullAlways && c.Image != "" {
			images = append(images, t.image(c.Image))
		}
	}
	slices.Sort(images)
	return slices.Compact(images)
}
