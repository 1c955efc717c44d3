package translate

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
