package sizes

import "strings"

// Family is a kind of Pods that has a price of its own: the value of InstanceTypeAnnotation. Source: CCI billing,
// cci_06_1006.
type Family string

const (
	// GeneralComputing is the family of Pods that request none. CCI 1.0 has no other for Pods without GPUs.
	GeneralComputing Family = "general-computing"
	// GeneralComputingLite is a family of CCI 2.0.
	GeneralComputingLite Family = "general-computing-lite"
)

// Annotations of a Pod that request a family, or several in the order of preference, separated by commas. They exclude
// each other. Source: CCI API, "Pod annotations".
const (
	InstanceTypeAnnotation           = "resource.cci.io/instance-type"
	InstanceTypePreferenceAnnotation = "resource.cci.io/instance-type-preference"
)

// Families returns the families.
func Families() []Family { return []Family{GeneralComputing, GeneralComputingLite} }

// FamilyOf returns the family that the annotations of a Pod request: with a preference the first, although the cloud
// may have given the Pod another one. Values that are no family count as none.
func FamilyOf(annotations map[string]string) Family {
	first, _, _ := strings.Cut(annotations[InstanceTypePreferenceAnnotation], ",")
	for _, requested := range []string{annotations[InstanceTypeAnnotation], first} {
		if Family(requested) == GeneralComputingLite {
			return GeneralComputingLite
		}
	}
	return GeneralComputing
}
