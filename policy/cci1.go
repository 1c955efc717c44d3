package policy

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// What CCI 1.0 sells: CPU in quarters of a core, whole GiB of memory, 2 to 8 GiB for each core. Source: CCE manual, virtual-kubelet,
// "Automatic adjustment of resources".
const (
	cpuStep      = 250
	leastMemory  = (gib + 4) / 5 // 0.2Gi, rounded up
	leastRatio   = 2
	mostRatio    = 8
	mostMilliCPU = 32000
	mostMemory   = 256 * gib
)

// CCI1Fit is how a Pod fits into CCI 1.0, where a Pod's size is the sum of its containers'.
type CCI1Fit struct {
	// Size is the Pod's.
	Size Flavor
	// Init and Containers are what each container of the spec gets, as its request and as its limit; nil for those that ask for nothing.
	Init, Containers []corev1.ResourceList
}

// FitCCI1 rounds a Pod up to what CCI 1.0 sells, as the vendor's plug-in does: each container that asks for anything to quarters of a core
// and 0.2Gi at least, the Pod to whole GiB and to a ratio of memory and CPU between 2 and 8; what the Pod gets beyond its containers
// goes to the first that asks for anything. A limit counts where it is set, else the request. least is a size that the Pod gets at
// least; a Pod that asks for nothing gets the smallest. It is an error where the Pod asks for memory alone, or for more than 32 cores or 256Gi.
func FitCCI1(spec *corev1.PodSpec, least Flavor) (CCI1Fit, error) {
	init, _ := roundAll(spec.InitContainers)
	containers, sum := roundAll(spec.Containers)
	asked := amounts{NeedOf(spec, corev1.ResourceCPU), NeedOf(spec, corev1.ResourceMemory)}
	if asked.milliCPU == 0 && asked.bytes > 0 {
		return CCI1Fit{}, errors.New("CCI 1.0 takes no Pod without CPU: give at least one container a CPU request")
	}
	pod := amounts{max(sum.milliCPU, asked.milliCPU, least.MilliCPU, cpuStep), max(sum.bytes, asked.bytes, least.bytes())}
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
	fit := CCI1Fit{Size: Flavor{MilliCPU: pod.milliCPU, MilliGiB: pod.bytes / gib * 1000}, Init: resourceLists(init)}
	if first := firstSized(containers); first < len(containers) { // A Pod without containers is not for us to refuse.
		containers[first] = containers[first].plus(amounts{pod.milliCPU - sum.milliCPU, pod.bytes - sum.bytes})
	}
	fit.Containers = resourceLists(containers)
	return fit, nil
}

func tooLargeForCCI1(spec *corev1.PodSpec) error {
	needed := Need(spec)
	return fmt.Errorf("no CCI 1.0 size holds %s CPU and %s memory: the largest has 32 CPU and 256Gi", needed.Cpu(), needed.Memory())
}

// amounts are of CPU and memory.
type amounts struct{ milliCPU, bytes int64 }

func (a amounts) isZero() bool { return a == amounts{} }

func (a amounts) plus(b amounts) amounts {
	return amounts{add(a.milliCPU, b.milliCPU), add(a.bytes, b.bytes)}
}

// sold rounds a Pod's amounts up. They are below the largest size, so that nothing overflows.
func (a amounts) sold() amounts {
	a.milliCPU, a.bytes = roundUp(a.milliCPU, cpuStep), roundUp(a.bytes, gib)
	if least := a.milliCPU * gib / 1000 * leastRatio; a.bytes < least {
		a.bytes = roundUp(least, gib)
	}
	if least := a.bytes / gib * 1000 / mostRatio; a.milliCPU < least {
		a.milliCPU = roundUp(least, cpuStep)
	}
	return a
}

// roundAll rounds the containers that ask for anything, and adds them up.
func roundAll(list []corev1.Container) (rounded []amounts, sum amounts) {
	for i := range list {
		c := amounts{asked(list[i].Resources, corev1.ResourceCPU), asked(list[i].Resources, corev1.ResourceMemory)}
		if !c.isZero() {
			c = amounts{max(roundUp(c.milliCPU, cpuStep), cpuStep), max(c.bytes, leastMemory)}
		}
		rounded, sum = append(rounded, c), sum.plus(c)
	}
	return rounded, sum
}

// roundUp is the next multiple; what is beyond every size stays so.
func roundUp(n, step int64) int64 {
	if n >= tooMuch {
		return tooMuch
	}
	return (n + step - 1) / step * step
}

// firstSized is the index of the first container that asks for anything, 0 where none does.
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

// checkCCI1 finds what the first generation of the cloud does not know: it is of the time of Kubernetes 1.19.
func checkCCI1(s subject) []string {
	if s.config.CCIVersion != CCI1 {
		return nil
	}
	var found []string
	for c := range containers(s.spec) {
		if c.StartupProbe != nil && c.StartupProbe.TCPSocket != nil {
			found = append(found, fmt.Sprintf("container %s has a startupProbe by tcpSocket: CCI 1.0 knows exec and httpGet there", c.Name))
		}
	}
	for i := range s.spec.InitContainers {
		if c := &s.spec.InitContainers[i]; isSidecar(s.spec, c) {
			found = append(found, fmt.Sprintf("init container %s is a sidecar (restartPolicy): CCI 1.0 runs init containers to their end only", c.Name))
		}
	}
	return found
}
