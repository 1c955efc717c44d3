package api

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

const (
	annotationSizeSpecs = "resource.cci.io/pod-size-specs"
	annotationSize      = "resource.cci.io/size"
	annotationLarge     = "resource.cci.io/resizing-large-size-instance-greater-than-32-cores"

	gibi = int64(1) << 30
	// largeCores is the number of millicores above which sizes need annotationLarge.
	largeCores = 32000
)

// podSize is a pair of CPU and memory.
type podSize struct {
	milliCPU int64
	memory   int64
}

// String returns the size in the format of the annotations, "2.00_4.0".
func (p podSize) String() string {
	return fmt.Sprintf("%.2f_%.1f", float64(p.milliCPU)/1000, float64(p.memory)/float64(gibi))
}

// podSizes are all sizes that the service sells, by CPU, then by memory. Source: CCI 2.0 manual, Pod specifications
// (cci_03_1007, cci_01_0058).
var podSizes = func() []podSize {
	var out []podSize
	add := func(milliCPU int64, halfGiB ...int64) {
		for _, half := range halfGiB {
			out = append(out, podSize{milliCPU, half * gibi / 2})
		}
	}
	span := func(milliCPU, from, to, by int64) {
		for gib := from; gib <= to; gib += by {
			add(milliCPU, gib*2)
		}
	}
	add(250, 1, 2, 4)
	add(500, 1, 2, 4, 6, 8)
	span(1000, 1, 8, 1)
	span(2000, 2, 16, 1)
	span(4000, 4, 32, 1)
	span(8000, 8, 64, 4)
	span(16000, 16, 128, 8)
	add(32000, 64, 128, 256, 512)
	add(48000, 192, 384, 768)
	add(64000, 256, 512, 1024)
	return out
}()

// smallestSize returns the smallest size that is not less than need, false if there is none.
func smallestSize(need podSize) (podSize, bool) {
	for _, size := range podSizes {
		if size.milliCPU >= need.milliCPU && size.memory >= need.memory {
			return size, true
		}
	}
	return podSize{}, false
}

// parseSize parses a size like "2.00_4.0". A size that is not sold is an error.
func parseSize(text string) (podSize, error) {
	cpu, memory, found := strings.Cut(text, "_")
	cores, cpuErr := strconv.ParseFloat(cpu, 64)
	gib, memoryErr := strconv.ParseFloat(memory, 64)
	if !found || cpuErr != nil || memoryErr != nil {
		return podSize{}, fmt.Errorf("%q is not of the form <vCPU>_<GiB>, as 2.00_4.0", text)
	}
	requested := podSize{int64(cores * 1000), int64(gib * float64(gibi))}
	for _, size := range podSizes {
		if size == requested {
			return size, nil
		}
	}
	return podSize{}, fmt.Errorf("%q is not a size that is sold", text)
}

// podNeed returns what the containers need together: the larger of what runs at the same time and of any init
// container. Native sidecars run all the time.
func podNeed(pod *objects.Pod) podSize {
	var running, largest podSize
	for i := range pod.Spec.InitContainers {
		need := containerNeed(&pod.Spec.InitContainers[i])
		if objects.IsSidecar(&pod.Spec.InitContainers[i]) {
			running.milliCPU += need.milliCPU
			running.memory += need.memory
			continue
		}
		largest.milliCPU = max(largest.milliCPU, running.milliCPU+need.milliCPU)
		largest.memory = max(largest.memory, running.memory+need.memory)
	}
	for i := range pod.Spec.Containers {
		need := containerNeed(&pod.Spec.Containers[i])
		running.milliCPU += need.milliCPU
		running.memory += need.memory
	}
	return podSize{max(running.milliCPU, largest.milliCPU), max(running.memory, largest.memory)}
}

// containerNeed returns the limits of a container, or the requests where there is no limit.
func containerNeed(c *corev1.Container) podSize {
	return podSize{quantityOf(c, corev1.ResourceCPU).MilliValue(), quantityOf(c, corev1.ResourceMemory).Value()}
}

func quantityOf(c *corev1.Container, name corev1.ResourceName) *apiresource.Quantity {
	if q, ok := c.Resources.Limits[name]; ok {
		return &q
	}
	q := c.Resources.Requests[name]
	return &q
}

// billedSize returns the size for which a Pod is billed, or why it is refused.
func billedSize(pod *objects.Pod) (podSize, error) {
	need := podNeed(pod)
	if text := pod.Annotations[annotationSizeSpecs]; text != "" {
		size, err := parseSize(text)
		if err != nil {
			return podSize{}, fmt.Errorf("annotation %s: %w", annotationSizeSpecs, err)
		}
		if size.milliCPU < need.milliCPU || size.memory < need.memory {
			return podSize{}, fmt.Errorf("annotation %s: %s is less than the containers' resources, %s",
				annotationSizeSpecs, size, need)
		}
		return size, checkLarge(pod, size)
	}
	if !hasSizedContainer(pod) {
		return podSize{}, fmt.Errorf("at least one container needs both cpu and memory, or the Pod the annotation %s",
			annotationSizeSpecs)
	}
	size, ok := smallestSize(need)
	if !ok {
		return podSize{}, fmt.Errorf("no size holds the containers' resources, %s", need)
	}
	return size, checkLarge(pod, size)
}

func checkLarge(pod *objects.Pod, size podSize) error {
	if size.milliCPU > largeCores && pod.Annotations[annotationLarge] != "true" {
		return fmt.Errorf("size %s has more than 32 cores: the Pod needs the annotation %s: \"true\"", size, annotationLarge)
	}
	return nil
}

func hasSizedContainer(pod *objects.Pod) bool {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if !quantityOf(&list[i], corev1.ResourceCPU).IsZero() && !quantityOf(&list[i], corev1.ResourceMemory).IsZero() {
				return true
			}
		}
	}
	return false
}
