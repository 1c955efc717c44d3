package translate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// downwardFiles makes files speak of the Pod and not of the cloud Pod, which has another name and labels of its own: they show
// annotations that hold what is meant.
func (b *builder) downwardFiles(volume string, files []corev1.DownwardAPIVolumeFile) []corev1.DownwardAPIVolumeFile {
	var translated []corev1.DownwardAPIVolumeFile
	for _, file := range files {
		path, err := b.filePath(file)
		if err != nil {
			b.refuse("file %s of volume %s %v", file.Path, volume, err)
			continue
		}
		translated = append(translated, corev1.DownwardAPIVolumeFile{
			Path: file.Path, Mode: file.Mode, FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path},
		})
	}
	return translated
}

// filePath is where the cloud Pod has what a file shows.
func (b *builder) filePath(file corev1.DownwardAPIVolumeFile) (string, error) {
	if selector := file.ResourceFieldRef; selector != nil {
		value, err := b.resourceField(nil, selector)
		if err != nil {
			return "", fmt.Errorf("refers to a container's resources: %w", err)
		}
		return b.literalFile(value), nil
	}
	if file.FieldRef == nil {
		return "", fmt.Errorf("comes from a source that the cloud does not know")
	}
	switch path := file.FieldRef.FieldPath; path {
	case "metadata.name":
		return annotationField(policy.CloudNameAnnotation), nil
	case "metadata.namespace":
		return annotationField(policy.CloudNamespaceAnnotation), nil
	case "metadata.uid":
		return annotationField(policy.CloudUIDAnnotation), nil
	case "metadata.labels":
		return b.literalFile(formatMap(b.pod.Labels)), nil
	case "metadata.annotations":
		return b.literalFile(formatMap(b.pod.Annotations)), nil
	default:
		if _, ok := b.field(path); ok && strings.HasPrefix(path, "metadata.") {
			return path, nil // Single labels and annotations are the cloud Pod's too.
		}
		return "", fmt.Errorf("refers to %s, which has no meaning in the cloud", path)
	}
}

// literalFile writes a value into an annotation and returns its path.
func (b *builder) literalFile(value string) string {
	key := fmt.Sprintf("%s%d", policy.CloudFileAnnotation, len(b.files))
	b.files = append(b.files, value)
	return annotationField(key)
}

// formatMap is how the kubelet writes labels and annotations into a file. Source: Kubernetes, pkg/fieldpath.FormatMap.
func formatMap(m map[string]string) string {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, fmt.Sprintf("%s=%q", key, m[key]))
	}
	return strings.Join(lines, "\n")
}

func annotationField(key string) string { return "metadata.annotations['" + key + "']" }
