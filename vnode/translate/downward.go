package translate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// downwardFiles translates files of the downward API. The cloud Pod has another name and additional labels, so that
// the files show annotations of the cloud Pod that contain the values of the Pod.
func (b *builder) downwardFiles(volume string, files []corev1.DownwardAPIVolumeFile) []corev1.DownwardAPIVolumeFile {
	var translated []corev1.DownwardAPIVolumeFile
	for _, file := range files {
		path, err := b.filePath(file)
		if err != nil {
			b.refuse("file %s of volume %s %v", file.Path, volume, err)
			continue
		}
		b.owner(volume, file.User)
		translated = append(translated, corev1.DownwardAPIVolumeFile{
			Path: file.Path, Mode: file.Mode, FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path},
		})
	}
	return translated
}

// filePath returns the field of the cloud Pod that contains the value of a file.
func (b *builder) filePath(file corev1.DownwardAPIVolumeFile) (string, error) {
	if selector := file.ResourceFieldRef; selector != nil {
		value, err := b.resourceField(nil, selector)
		if err != nil {
			return "", fmt.Errorf("refers to a container's resources: %w", err)
		}
		return b.literalFile("="+value, value), nil
	}
	if file.FieldRef == nil {
		return "", errors.New("has a source that the cloud does not support")
	}
	switch path := file.FieldRef.FieldPath; path {
	case "metadata.name":
		return annotationField(policy.CloudNameAnnotation), nil
	case "metadata.namespace":
		return annotationField(policy.CloudNamespaceAnnotation), nil
	case "metadata.uid":
		return annotationField(policy.CloudUIDAnnotation), nil
	case "metadata.labels":
		return b.mapFile(path, b.pod.Labels), nil
	case "metadata.annotations":
		return b.mapFile(path, b.pod.Annotations), nil
	default:
		if value, ok := b.field(path); ok && strings.HasPrefix(path, "metadata.") {
			return b.literalFile(path, value), nil // The cloud Pod does not have all labels and annotations.
		}
		return "", fmt.Errorf("refers to %s, which is not available in the cloud", path)
	}
}

// mapFile writes all labels or annotations to an annotation of the cloud Pod and returns its path. It does not format
// what is too large, which checkSizes refuses.
func (b *builder) mapFile(path string, m map[string]string) string {
	if known, ok := b.filePaths[path]; ok {
		return known
	}
	if size := mapSize(m); size > maxAnnotations {
		b.unwritten += size
		return path
	}
	return b.literalFile(path, formatMap(m))
}

// literalFile writes a value to an annotation of the cloud Pod and returns the path of that annotation. Files of the
// same source share an annotation: a Pod can mount its annotations a thousand times.
func (b *builder) literalFile(source, value string) string {
	if known, ok := b.filePaths[source]; ok {
		return known
	}
	path := annotationField(fileKey(len(b.files)))
	b.files, b.filePaths[source] = append(b.files, value), path
	return path
}

// fileKey returns the annotation of a file.
func fileKey(number int) string { return fmt.Sprintf("%s%d", policy.CloudFileAnnotation, number) }

// formatMap formats labels and annotations as the kubelet does. Source: Kubernetes v1.36, pkg/fieldpath/fieldpath.go.
func formatMap(m map[string]string) string {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, fmt.Sprintf("%s=%q", key, m[key]))
	}
	return strings.Join(lines, "\n")
}

func annotationField(key string) string { return "metadata.annotations['" + key + "']" }
