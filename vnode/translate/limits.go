package translate

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// A small Pod can refer to a large text many times. What the translation generates is therefore bounded, and its size
// is computed before it is built.
const (
	// maxAnnotations is the total size in bytes of the annotations of a cloud Pod, with the files of the downward API
	// that they contain. Source: Kubernetes v1.36, staging/src/k8s.io/apimachinery/pkg/api/validation/objectmeta.go,
	// TotalAnnotationSizeLimitB.
	maxAnnotations = 256 << 10
	// maxValues is the total size in bytes of the values that variables get from fields and resources of the Pod. They
	// are part of the cloud Pod, whose size is limited: etcd stores objects of 1.5 MiB.
	maxValues = 256 << 10
)

// literal returns a variable whose value is not expanded. Kubernetes reads $$ as $. ok is false if the values of the
// variables have become too large, which checkSizes refuses.
func (b *builder) literal(name, value string) (variable corev1.EnvVar, ok bool) {
	if b.values > maxValues {
		return corev1.EnvVar{}, false
	}
	if b.values += len(value) + strings.Count(value, "$"); b.values > maxValues {
		return corev1.EnvVar{}, false
	}
	return corev1.EnvVar{Name: name, Value: strings.ReplaceAll(value, "$", "$$")}, true
}

// checkSizes refuses a Pod that would become too large. annotations are those of the cloud Pod without the files.
func (b *builder) checkSizes(annotations map[string]string) {
	if b.values > maxValues {
		b.refuse("the values of all variables with a fieldRef or a resourceFieldRef have more than %d KiB: refer to fewer "+
			"or shorter labels and annotations", maxValues>>10)
	}
	size := mapSize(annotations) + b.unwritten
	for _, file := range b.files {
		size += len(fileKey(0)) + len(file)
	}
	if size > maxAnnotations {
		b.refuse("the annotations of the cloud Pod would have %d KiB, of which files of the downward API are a part: the "+
			"cloud takes %d KiB; shorten the annotations, or mount fewer of them", (size+1023)>>10, maxAnnotations>>10)
	}
}

// mapSize returns the size of labels or annotations.
func mapSize(m map[string]string) int {
	size := 0
	for key, value := range m {
		size += len(key) + len(value)
	}
	return size
}
