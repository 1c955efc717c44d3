package policy

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// FlavorAnnotation on a Pod asks for one size of CCI 2.0, such as "2.00_4.0" (vCPU_GiB). Source: CCI API, Pod annotations.
const FlavorAnnotation = "resource.cci.io/pod-size-specs"

// Flavor is a size that CCI 2.0 sells.
type Flavor struct {
	// MilliCPU is in thousandths of a vCPU.
	MilliCPU int64
	// MilliGiB is in thousandths of a GiB.
	MilliGiB int64
}

// String is the form of FlavorAnnotation, such as "0.25_0.5".
func (f Flavor) String() string {
	return fmt.Sprintf("%.2f_%.1f", float64(f.MilliCPU)/1000, float64(f.MilliGiB)/1000)
}

// Resources are the flavor's CPU and memory as Kubernetes quantities.
func (f Flavor) Resources() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(f.MilliCPU, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(f.bytes(), resource.BinarySI),
	}
}

func (f Flavor) bytes() int64 { return f.MilliGiB * gib / 1000 }

// holds tells whether the flavor has at least that much of both.
func (f Flavor) holds(milliCPU, bytes int64) bool {
	return f.MilliCPU >= milliCPU && f.bytes() >= bytes
}

const gib = int64(1) << 30

// Flavors lists every size of CCI 2.0, smallest CPU first, then smallest memory. Source: CCI manual cci_03_1007, cci_01_0058.
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

// steps lists thousandths from lo to hi units.
func steps(lo, hi, by int64) []int64 {
	var list []int64
	for v := lo; v <= hi; v += by {
		list = append(list, v*1000)
	}
	return list
}

// Need is the CPU and the memory that a Pod asks of the cloud: per resource, the largest of what runs together (containers and
// sidecars), what each init container needs beside the sidecars started before it, and what the Pod as a whole asks for. A
// limit counts where it is set, else the request. Source: CCI manual cci_01_0027; sidecars as in Kubernetes.
func Need(spec *corev1.PodSpec) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(NeedOf(spec, corev1.ResourceCPU), resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(NeedOf(spec, corev1.ResourceMemory), resource.BinarySI),
	}
}

// NeedOf is what Need says of one resource, of any other too, in the unit of Amount.
func NeedOf(spec *corev1.PodSpec, name corev1.ResourceName) int64 {
	var sidecars, most int64
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		beside := add(sidecars, asked(c.Resources, name))
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sidecars = beside
		}
		most = max(most, beside)
	}
	running := sidecars
	for i := range spec.Containers {
		running = add(running, asked(spec.Containers[i].Resources, name))
	}
	if spec.Resources != nil {
		most = max(most, asked(*spec.Resources, name))
	}
	return max(most, running)
}

// asked is the limit, else the request, else zero.
func asked(resources corev1.ResourceRequirements, name corev1.ResourceName) int64 {
	if limit, ok := resources.Limits[name]; ok {
		return Amount(limit, name)
	}
	return Amount(resources.Requests[name], name)
}

// Amount is a quantity in thousandths of a CPU, or of any other resource in its own unit (bytes), rounded up; half of the largest
// int64 where it is beyond every size. Quantity's own arithmetic is not safe there: 1e30 has the Value 0, and adding or comparing
// 1e1000000000 takes minutes.
func Amount(q resource.Quantity, name corev1.ResourceName) int64 {
	switch {
	case q.IsZero(): // Also 0e1000000000, which the methods below count out.
		return 0
	case q.AsApproximateFloat64() > 1<<50:
		return tooMuch
	case name == corev1.ResourceCPU:
		return q.MilliValue()
	}
	return q.Value()
}

// tooMuch is larger than every size, and two of it still fit into an int64.
const tooMuch = math.MaxInt64 / 2

func add(a, b int64) int64 { return min(a+b, tooMuch) }

// FlavorFor is the size that the Pod gets: the one its annotation asks for, else the smallest that holds what the spec needs.
// It is an error where none does, or where the annotation names no size or one too small.
func FlavorFor(annotations map[string]string, spec *corev1.PodSpec) (Flavor, error) {
	milliCPU, bytes := NeedOf(spec, corev1.ResourceCPU), NeedOf(spec, corev1.ResourceMemory)
	if text, ok := annotations[FlavorAnnotation]; ok {
		flavor, err := parseFlavor(text)
		if err != nil {
			return Flavor{}, err
		}
		if !flavor.holds(milliCPU, bytes) {
			needed := Need(spec)
			return Flavor{}, fmt.Errorf("%s: %q holds less than the containers need (%s CPU, %s memory): ask for a larger size, or remove the annotation",
				FlavorAnnotation, text, needed.Cpu(), needed.Memory())
		}
		return flavor, nil
	}
	for flavor := range flavors {
		if flavor.holds(milliCPU, bytes) {
			return flavor, nil
		}
	}
	needed := Need(spec)
	return Flavor{}, fmt.Errorf("no CCI size holds %s CPU and %s memory: the largest is 64 CPU with 512Gi", needed.Cpu(), needed.Memory())
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
	return Flavor{}, fmt.Errorf("%s: invalid value %.100q: must be a size that CCI sells, such as \"2.00_4.0\" (vCPU_GiB)", FlavorAnnotation, text)
}
