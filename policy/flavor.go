package policy

import (
	"fmt"
	"math"
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
		corev1.ResourceMemory: *resource.NewQuantity(f.MilliGiB*gib/1000, resource.BinarySI),
	}
}

const gib = int64(1) << 30

// Flavors lists every size of CCI 2.0, smallest CPU first, then smallest memory. Source: CCI manual cci_03_1007, cci_01_0058.
func Flavors() []Flavor {
	var all []Flavor
	for _, row := range flavorTable {
		for _, memory := range row.milliGiB {
			all = append(all, Flavor{row.milliCPU, memory})
		}
	}
	return all
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

// Need is what a Pod asks of the cloud: per resource, the larger of what runs together (containers and sidecars) and what each
// init container needs beside the sidecars started before it. A limit counts where it is set, else the request.
// Source: CCI manual cci_01_0027; sidecars as in Kubernetes.
func Need(spec *corev1.PodSpec) corev1.ResourceList {
	need := corev1.ResourceList{}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		var sidecars, atInit resource.Quantity
		for i := range spec.InitContainers {
			c := &spec.InitContainers[i]
			one := asked(c, name)
			one.Add(sidecars)
			if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
				sidecars = one
			}
			if one.Cmp(atInit) > 0 {
				atInit = one
			}
		}
		running := sidecars.DeepCopy()
		for i := range spec.Containers {
			running.Add(asked(&spec.Containers[i], name))
		}
		if atInit.Cmp(running) > 0 {
			running = atInit
		}
		need[name] = running
	}
	return need
}

// asked is a container's limit, else its request, else zero: always a copy.
func asked(c *corev1.Container, name corev1.ResourceName) resource.Quantity {
	if q, ok := c.Resources.Limits[name]; ok {
		return q.DeepCopy()
	}
	return c.Resources.Requests[name].DeepCopy()
}

// FlavorFor is the size that the Pod gets: the one its annotation asks for, else the smallest that holds what the spec needs.
// It is an error where none does, or where the annotation names no size or one too small.
func FlavorFor(annotations map[string]string, spec *corev1.PodSpec) (Flavor, error) {
	need := Need(spec)
	milliCPU, milliGiB := milliCPUOf(need), milliGiBOf(need)
	if text, ok := annotations[FlavorAnnotation]; ok {
		flavor, err := parseFlavor(text)
		if err != nil {
			return Flavor{}, err
		}
		if flavor.MilliCPU < milliCPU || flavor.MilliGiB < milliGiB {
			return Flavor{}, fmt.Errorf("%s: %q holds less than the containers need (%s CPU, %s memory)",
				FlavorAnnotation, text, need.Cpu(), need.Memory())
		}
		return flavor, nil
	}
	for _, flavor := range Flavors() {
		if flavor.MilliCPU >= milliCPU && flavor.MilliGiB >= milliGiB {
			return flavor, nil
		}
	}
	return Flavor{}, fmt.Errorf("no CCI size holds %s CPU and %s memory: the largest is 64 CPU with 512Gi", need.Cpu(), need.Memory())
}

func milliCPUOf(need corev1.ResourceList) int64 { return need.Cpu().MilliValue() }

// milliGiBOf rounds up to a thousandth of a GiB: every size is a multiple of that, so no Pod is rounded past its size.
func milliGiBOf(need corev1.ResourceList) int64 {
	return int64(math.Ceil(float64(need.Memory().Value()) * 1000 / float64(gib)))
}

func parseFlavor(text string) (Flavor, error) {
	cpu, memory, _ := strings.Cut(text, "_")
	c, errCPU := strconv.ParseFloat(cpu, 64)
	m, errMemory := strconv.ParseFloat(memory, 64)
	if errCPU == nil && errMemory == nil {
		for _, flavor := range Flavors() {
			if float64(flavor.MilliCPU) == c*1000 && float64(flavor.MilliGiB) == m*1000 {
				return flavor, nil
			}
		}
	}
	return Flavor{}, fmt.Errorf("%s: invalid value %q: must be a size that CCI sells, such as \"2.00_4.0\" (vCPU_GiB)", FlavorAnnotation, text)
}
