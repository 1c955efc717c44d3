package translate

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// downwardFiles makes files speak of the Pod and not of the cloud Pod: its name, namespace and UID are annotations there.
func (b *builder) downwardFiles(volume string, files []corev1.DownwardAPIVolumeFile) []corev1.DownwardAPIVolumeFile {
	var translated []corev1.DownwardAPIVolumeFile
	for _, file := range files {
		if file.FieldRef != nil {
			path, ok := cloudField(file.FieldRef.FieldPath)
			if !ok {
				b.refuse("file %s of volume %s refers to %s, which has no meaning in the cloud", file.Path, volume, file.FieldRef.FieldPath)
				continue
			}
			file.FieldRef = &corev1.ObjectFieldSelector{APIVersion: file.FieldRef.APIVersion, FieldPath: path}
		}
		translated = append(translated, file)
	}
	return translated
}

// cloudField is where the cloud Pod has a field of the Pod.
func cloudField(path string) (string, bool) {
	switch path {
	case "metadata.name":
		return annotationField(policy.CloudNameAnnotation), true
	case "metadata.namespace":
		return annotationField(policy.CloudNamespaceAnnotation), true
	case "metadata.uid":
		return annotationField(policy.CloudUIDAnnotation), true
	}
	carried := strings.HasPrefix(path, "metadata.labels") || strings.HasPrefix(path, "metadata.annotations")
	return path, carried
}

func annotationField(key string) string { return "metadata.annotations['" + key + "']" }
