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

// size returns the size of the Pod in this generation. It returns an error if no size holds the Pod.
func (v CCIVersion) size(annotations map[string]string, spec *corev1.PodSpec) (sizes.Flavor, error) {
	if v == CCI1 {
		fit, err := sizes.FitCCI1(spec, sizes.Flavor{})
		return fit.Size, err
	}
	return sizes.For(annotations, spec)
}
