package sizes

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// The sizes of CCI 1.0: CPU in steps of 0.25 cores, memory in steps of 1 GiB, 2 to 8 GiB per core. Source: CCE manual,
// virtual-kubelet, "Automatic adjustment of resources".
const (
	cpuStep      = 250
	leastMemory  = (GiB + 4) / 5 // 0.2Gi, rounded up
	leastRatio   = 2
	mostRatio    = 8
	mostMilliCPU = 32000
	mostMemory   = 256 * GiB
)

// CCI1Fit is the size of a Pod in CCI 1.0, where the size of a Pod is the sum of its containers.
type CCI1Fit struct {
	// Size is the size of the Pod.
	Size Flavor
	// Init and Containers are what each container of the spec gets, as request and as limit. nil for containers without
	// requests and limits.
	Init, Containers []corev1.ResourceList
}

// FitCCI1 rounds a Pod up to a size of CCI 1.0, as the vendor's plug-in does. Each container with requests or limits
// gets a multiple of 0.25 cores and at least 0.2Gi. The Pod gets a multiple of 1 GiB, and 2 to 8 GiB per core. What the
// Pod gets beyond the sum of its containers goes to the first container with requests or limits. A limit counts where
// it is set, otherwise the request. least is the minimum size of the Pod; a Pod without requests gets the smallest
// size. FitCCI1 returns an error if the Pod requests memory but no CPU, or more than 32 cores or 256Gi.
func FitCCI1(spec *corev1.PodSpec, least Flavor) (CCI1Fit, error) {
	init, _ := roundAll(spec.InitContainers)
	containers, sum := roundAll(spec.Containers)
	requested := amounts{NeedOf(spec, corev1.ResourceCPU), NeedOf(spec, corev1.ResourceMemory)}
	if requested.milliCPU == 0 && requested.bytes > 0 {
		return CCI1Fit{}, errors.New("CCI 1.0 takes no Pod without CPU: give at least one container a CPU request")
	}
	pod := amounts{
		max(sum.milliCPU, requested.milliCPU, least.MilliCPU, cpuStep), max(sum.bytes, requested.bytes, least.bytes()),
	}
	for _, c := range init {
		pod = amounts{max(pod.milliCPU, c.milliCPU), max(pod.bytes, c.bytes)}
	}
	if pod.milliCPU > mostMilliCPU || pod.bytes > mostMemory {
		return CCI1Fit{}, tooLargeForCCI1(spec)
	}
	pod = pod.sold()
	if pod.milliCPU > mostMilliCPU || pod.bytes > mostMemory {
		return CCI1Fit{}, tooLargeForCCI1(spec)
	}
	fit := CCI1Fit{Size: Flavor{MilliCPU: pod.milliCPU, MilliGiB: pod.bytes / GiB * 1000}, Init: resourceLists(init)}
	if first := firstSized(containers); first < len(containers) { // The API server refuses a Pod without containers.
		containers[first] = containers[first].plus(amounts{pod.milliCPU - sum.milliCPU, pod.bytes - sum.bytes})
	}
	fit.Containers = resourceLists(containers)
	return fit, nil
}

func tooLargeForCCI1(spec *corev1.PodSpec) error {
	needed := Need(spec)
	return fmt.Errorf("no CCI 1.0 size holds %s CPU and %s memory: the largest has 32 CPU and 256Gi",
		needed.Cpu(), needed.Memory())
}

// amounts of CPU and memory.
type amounts struct{ milliCPU, bytes int64 }

func (a amounts) isZero() bool { return a == amounts{} }

func (a amounts) plus(b amounts) amounts {
	return amounts{add(a.milliCPU, b.milliCPU), add(a.bytes, b.bytes)}
}

// sold rounds the amounts of a Pod up to a size. They must not exceed the largest size: larger amounts would overflow.
func (a amounts) sold() amounts {
	a.milliCPU, a.bytes = roundUp(a.milliCPU, cpuStep), roundUp(a.bytes, GiB)
	if least := a.milliCPU * GiB / 1000 * leastRatio; a.bytes < least {
		a.bytes = roundUp(least, GiB)
	}
	if least := a.bytes / GiB * 1000 / mostRatio; a.milliCPU < least {
		a.milliCPU = roundUp(least, cpuStep)
	}
	return a
}

// roundAll rounds up the containers that have requests or limits, and returns their sum.
func roundAll(list []corev1.Container) (rounded []amounts, sum amounts) {
	for i := range list {
		c := amounts{requested(list[i].Resources, corev1.ResourceCPU), requested(list[i].Resources, corev1.ResourceMemory)}
		if !c.isZero() {
			c = amounts{max(roundUp(c.milliCPU, cpuStep), cpuStep), max(c.bytes, leastMemory)}
		}
		rounded, sum = append(rounded, c), sum.plus(c)
	}
	return rounded, sum
}

// roundUp returns the next multiple of step. An amount beyond every size stays beyond every size.
func roundUp(n, step int64) int64 {
	if n >= tooMuch {
		return tooMuch
	}
	return (n + step - 1) / step * step
}

// firstSized returns the index of the first container with requests or limits, 0 if there is none.
func firstSized(list []amounts) int {
	for i, c := range list {
		if !c.isZero() {
			return i
		}
	}
	return 0
}

func resourceLists(list []amounts) []corev1.ResourceList {
	var out []corev1.ResourceList
	for _, c := range list {
		var resources corev1.ResourceList
		if !c.isZero() {
			resources = corev1.ResourceList{
				corev1.ResourceCPU:    *resource.NewMilliQuantity(c.milliCPU, resource.DecimalSI),
				corev1.ResourceMemory: *resource.NewQuantity(c.bytes, resource.BinarySI),
			}
		}
		out = append(out, resources)
	}
	return out
}
