// Package sizes knows the sizes of Pods that both generations of CCI sell, and chooses the smallest that holds a Pod.
//
// It is pure, as package policy is: a Pod spec goes in, a size comes out. It does not change the Pod (vnode/translate
// does).
package sizes

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Annotation on a Pod requests one size of CCI 2.0, such as "2.00_4.0" (vCPU_GiB). Source: CCI API, Pod annotations.
const Annotation = "resource.cci.io/pod-size-specs"

// Flavor is a size that CCI 2.0 sells.
type Flavor struct {
	// MilliCPU is in thousandths of a vCPU.
	MilliCPU int64
	// MilliGiB is in thousandths of a GiB.
	MilliGiB int64
}

// String returns the form that Annotation takes, such as "0.25_0.5".
func (f Flavor) String() string {
	return fmt.Sprintf("%.2f_%.1f", float64(f.MilliCPU)/1000, float64(f.MilliGiB)/1000)
}

// Resources returns the CPU and the memory of the flavor as Kubernetes quantities.
func (f Flavor) Resources() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(f.MilliCPU, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(f.bytes(), resource.BinarySI),
	}
}

func (f Flavor) bytes() int64 { return f.MilliGiB * GiB / 1000 }

// holds reports whether the flavor has at least this much CPU and memory.
func (f Flavor) holds(milliCPU, bytes int64) bool {
	return f.MilliCPU >= milliCPU && f.bytes() >= bytes
}

// GiB is a GiBibyte in bytes.
const GiB = int64(1) << 30

// Flavors returns every size of CCI 2.0, ordered by CPU, then by memory. Source: CCI manual cci_03_1007, cci_01_0058.
func Flavors() []Flavor { return slices.Collect(flavors) }

func flavors(yield func(Flavor) bool) {
	for _, row := range flavorTable {
		for _, memory := range row.milliGiB {
			if !yield(Flavor{row.milliCPU, memory}) {
				return
			}
		}
	}
}

var flavorTable = []struct {
	milliCPU int64
	milliGiB []int64
}{
	{250, []int64{500, 1000, 2000}},
	{500, []int64{500, 1000, 2000, 3000, 4000}},
	{1000, steps(1, 8, 1)},
	{2000, steps(2, 16, 1)},
	{4000, steps(4, 32, 1)},
	{8000, steps(8, 64, 4)},
	{16000, steps(16, 128, 8)},
	{32000, []int64{32000, 64000, 128000, 256000}},
	{48000, []int64{96000, 192000, 384000}},
	{64000, []int64{128000, 256000, 512000}},
}

// steps returns the thousandths of lo, lo+by, ... hi units.
func steps(lo, hi, by int64) []int64 {
	var list []int64
	for v := lo; v <= hi; v += by {
		list = append(list, v*1000)
	}
	return list
}

// Need returns the CPU and the memory that a Pod needs. For each resource, it is the largest of: the sum of the
// containers and sidecars; each init container plus the sidecars that start before it; the resources of the Pod as a
// whole. A limit counts where it is set, otherwise the request. Source: CCI manual cci_01_0027; sidecars as in
// Kubernetes.
func Need(spec *corev1.PodSpec) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(NeedOf(spec, corev1.ResourceCPU), resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(NeedOf(spec, corev1.ResourceMemory), resource.BinarySI),
	}
}

// NeedOf returns what a Pod needs of one resource, as Need does, in the unit of Amount. The resource may be any.
func NeedOf(spec *corev1.PodSpec, name corev1.ResourceName) int64 {
	var sidecars, most int64
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		together := add(sidecars, requested(c.Resources, name))
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sidecars = together
		}
		most = max(most, together)
	}
	running := sidecars
	for i := range spec.Containers {
		running = add(running, requested(spec.Containers[i].Resources, name))
	}
	if spec.Resources != nil {
		most = max(most, requested(*spec.Resources, name))
	}
	return max(most, running)
}

// requested returns the limit, or without one the request, or zero.
func requested(resources corev1.ResourceRequirements, name corev1.ResourceName) int64 {
	if limit, ok := resources.Limits[name]; ok {
		return Amount(limit, name)
	}
	return Amount(resources.Requests[name], name)
}

// Amount returns a quantity of CPU in thousandths, or of any other resource in its own unit (bytes), rounded up. A
// quantity beyond every size becomes half of the largest int64: the arithmetic of Quantity is not safe there. 1e30 has
// the Value 0, and adding or comparing 1e1000000000 takes minutes.
func Amount(q resource.Quantity, name corev1.ResourceName) int64 {
	switch {
	case q.IsZero(): // Also 0e1000000000, which takes the methods below minutes.
		return 0
	case q.AsApproximateFloat64() > 1<<50:
		return tooMuch
	case name == corev1.ResourceCPU:
		return q.MilliValue()
	}
	return q.Value()
}

// tooMuch is larger than every size. The sum of two still fits into an int64.
const tooMuch = math.MaxInt64 / 2

func add(a, b int64) int64 { return min(a+b, tooMuch) }

// For returns the size of CCI 2.0 that a Pod gets: the one that its annotation requests, or without one the smallest
// that holds what the spec needs. It returns an error if no size does, or if the annotation is invalid or requests too
// little.
func For(annotations map[string]string, spec *corev1.PodSpec) (Flavor, error) {
	milliCPU, bytes := NeedOf(spec, corev1.ResourceCPU), NeedOf(spec, corev1.ResourceMemory)
	if text, ok := annotations[Annotation]; ok {
		flavor, err := parseFlavor(text)
		if err != nil {
			return Flavor{}, err
		}
		if !flavor.holds(milliCPU, bytes) {
			needed := Need(spec)
			return Flavor{}, fmt.Errorf("%s: %.100q holds less than the containers need (%s CPU, %s memory): "+
				"request a larger size, or remove the annotation", Annotation, text, needed.Cpu(), needed.Memory())
		}
		return flavor, nil
	}
	for flavor := range flavors {
		if flavor.holds(milliCPU, bytes) {
			return flavor, nil
		}
	}
	needed := Need(spec)
	return Flavor{}, fmt.Errorf("no CCI size holds %s CPU and %s memory: the largest is 64 CPU with 512Gi",
		needed.Cpu(), needed.Memory())
}

// Parse reads what Flavor.String returns. The size need not be one that is sold: CCI 1.0 has others.
func Parse(text string) (Flavor, error) {
	cpu, memory, _ := strings.Cut(text, "_")
	c, errCPU := strconv.ParseFloat(cpu, 64)
	m, errMemory := strconv.ParseFloat(memory, 64)
	size := Flavor{MilliCPU: int64(math.Round(c * 1000)), MilliGiB: int64(math.Round(m * 1000))}
	if errCPU != nil || errMemory != nil || size.String() != text {
		return Flavor{}, fmt.Errorf("size: invalid value %.100q: must be such as \"2.00_4.0\" (vCPU_GiB)", text)
	}
	return size, nil
}

func parseFlavor(text string) (Flavor, error) {
	cpu, memory, _ := strings.Cut(text, "_")
	c, errCPU := strconv.ParseFloat(cpu, 64)
	m, errMemory := strconv.ParseFloat(memory, 64)
	if errCPU == nil && errMemory == nil {
		for flavor := range flavors {
			if float64(flavor.MilliCPU) == c*1000 && float64(flavor.MilliGiB) == m*1000 {
				return flavor, nil
			}
		}
	}
	return Flavor{}, fmt.Errorf("%s: invalid value %.100q: must be a size that CCI sells, such as \"2.00_4.0\" (vCPU_GiB)",
		Annotation, text)
}
