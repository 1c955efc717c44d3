package policy

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/policy/sizes"
)

// FlavorAnnotation on a Pod requests one size of CCI 2.0, such as "2.00_4.0" (vCPU_GiB). Source: CCI API, Pod
// annotations.
const FlavorAnnotation = sizes.Annotation

// CCIVersion is a generation of the cloud. Each has its own API, its own kind of Pods and its own sizes.
type CCIVersion string

// The generations of the cloud.
const (
	CCI2 CCIVersion = "2.0"
	CCI1 CCIVersion = "1.0"
)

func (v CCIVersion) validate(path *field.Path) field.ErrorList {
	if v != "" && v != CCI1 && v != CCI2 {
		return field.ErrorList{field.NotSupported(path, v, []CCIVersion{CCI2, CCI1})}
	}
	return nil
}

// Size returns the size of a Pod in this generation, which is the one that is billed. A Pod without requests and limits
// gets byDefault, or the smallest size if byDefault is zero. Size returns an error if no size holds the Pod.
func (v CCIVersion) Size(
	annotations map[string]string, spec *corev1.PodSpec, byDefault sizes.Flavor,
) (sizes.Flavor, error) {
	if !RequestsNothing(spec) {
		byDefault = sizes.Flavor{}
	}
	if v == CCI1 {
		fit, err := sizes.FitCCI1(spec, byDefault)
		return fit.Size, err
	}
	if _, explicit := annotations[FlavorAnnotation]; !explicit && byDefault != (sizes.Flavor{}) {
		return byDefault, nil
	}
	return sizes.For(annotations, spec)
}

// RequestsNothing reports whether a Pod has neither requests nor limits of CPU and memory.
func RequestsNothing(spec *corev1.PodSpec) bool {
	return sizes.NeedOf(spec, corev1.ResourceCPU) == 0 && sizes.NeedOf(spec, corev1.ResourceMemory) == 0
}
