package policy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/spillway-k8s/spillway/policy/sizes"
)

// CloudLimits are what the Pods of one namespace may use in the cloud together. The zero value has no limit.
type CloudLimits struct {
	// pods is the number of Pods, milliCPU is in thousandths of a vCPU, milliGiB in thousandths of a GiB; nil for no
	// limit. CPU and memory are those of the billed sizes.
	pods, milliCPU, milliGiB *int64
	text                     string
}

// CloudUse is what Pods use in the cloud, in billed sizes.
type CloudUse struct {
	Pods int64
	sizes.Flavor
}

// Plus returns the sum of two uses.
func (u CloudUse) Plus(other CloudUse) CloudUse {
	return CloudUse{u.Pods + other.Pods, sizes.Flavor{
		MilliCPU: u.MilliCPU + other.MilliCPU, MilliGiB: u.MilliGiB + other.MilliGiB,
	}}
}

// Minus returns the difference of two uses.
func (u CloudUse) Minus(other CloudUse) CloudUse {
	return CloudUse{u.Pods - other.Pods, sizes.Flavor{
		MilliCPU: u.MilliCPU - other.MilliCPU, MilliGiB: u.MilliGiB - other.MilliGiB,
	}}
}

// Max returns the larger of two uses, of each resource.
func (u CloudUse) Max(other CloudUse) CloudUse {
	return CloudUse{max(u.Pods, other.Pods), sizes.Flavor{
		MilliCPU: max(u.MilliCPU, other.MilliCPU), MilliGiB: max(u.MilliGiB, other.MilliGiB),
	}}
}

// LimitsRight says what CloudLimitsAnnotation must be.
const LimitsRight = "must be a list such as \"pods=50,cpu=200,memory=400Gi\", each of pods, cpu and memory once at " +
	"most, memory with a unit"

// mostLimit bounds limits so that sums of them cannot overflow. It is beyond every account.
const mostLimit = int64(1) << 40

// ParseCloudLimits reads limits such as "pods=50,cpu=200,memory=400Gi". What is not in the list has no limit. An empty
// text has none at all. The error is a KeyError of CloudLimitsAnnotation.
func ParseCloudLimits(text string) (CloudLimits, error) {
	limits := CloudLimits{text: text}
	if text == "" {
		return limits, nil
	}
	invalid := func(part string) error { return invalidValue(CloudLimitsAnnotation, "", part, LimitsRight) }
	if len(text) > 200 {
		return CloudLimits{}, invalid(text)
	}
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		into, unit := &limits.pods, int64(1)
		switch name {
		case "pods":
		case "cpu":
			into, unit = &limits.milliCPU, 1000
		case "memory":
			into, unit = &limits.milliGiB, 0
		default:
			return CloudLimits{}, invalid(part)
		}
		amount, ok := parseLimit(value, unit)
		if !ok || *into != nil {
			return CloudLimits{}, invalid(part)
		}
		*into = &amount
	}
	return limits, nil
}

// parseLimit reads a number in thousandths (unit 1000), in ones (unit 1), or an amount of bytes as thousandths of a GiB
// (unit 0), rounded down. ok is false for anything negative or beyond mostLimit.
func parseLimit(value string, unit int64) (amount int64, ok bool) {
	if unit == 1 {
		n, err := strconv.ParseInt(value, 10, 64)
		return n, err == nil && n >= 0 && n <= mostLimit
	}
	if len(value) > 20 || strings.ContainsAny(value, "eE") && !strings.HasSuffix(value, "Ei") {
		return 0, false // No exponents: resource.ParseQuantity takes seconds for large ones.
	}
	quantity, err := resource.ParseQuantity(value)
	if err != nil || quantity.Sign() < 0 {
		return 0, false
	}
	if unit == 1000 {
		n := sizes.Amount(quantity, corev1.ResourceCPU)
		return n, n <= mostLimit
	}
	bytes := sizes.Amount(quantity, corev1.ResourceMemory)
	n := bytes/sizes.GiB*1000 + bytes%sizes.GiB*1000/sizes.GiB
	return n, n <= mostLimit && (n > 0 || bytes == 0) // Less than that has no unit by mistake.
}

// String returns the limits as they were written.
func (l CloudLimits) String() string { return l.text }

// IsZero reports whether there is no limit.
func (l CloudLimits) IsZero() bool { return l.pods == nil && l.milliCPU == nil && l.milliGiB == nil }

// Forbid reports whether the limits allow no Pod at all: each uses some CPU and memory.
func (l CloudLimits) Forbid() bool {
	none := func(limit *int64) bool { return limit != nil && *limit == 0 }
	return none(l.pods) || none(l.milliCPU) || none(l.milliGiB)
}

// Allow reports whether the use is within the limits.
func (l CloudLimits) Allow(use CloudUse) bool {
	within := func(limit *int64, used int64) bool { return limit == nil || used <= *limit }
	return within(l.pods, use.Pods) && within(l.milliCPU, use.MilliCPU) && within(l.milliGiB, use.MilliGiB)
}

// Amounts returns the limits that there are, by the name of the resource: Pods, CPU in cores and memory in bytes.
func (l CloudLimits) Amounts() map[string]float64 {
	amounts := map[string]float64{}
	for name, limit := range map[string]*int64{"pods": l.pods, "cpu": l.milliCPU, "memory": l.milliGiB} {
		if limit != nil {
			amounts[name] = CloudUse{*limit, sizes.Flavor{MilliCPU: *limit, MilliGiB: *limit}}.Amounts()[name]
		}
	}
	return amounts
}

// Amounts returns the use by the name of the resource, as CloudLimits.Amounts does.
func (u CloudUse) Amounts() map[string]float64 {
	return map[string]float64{
		"pods": float64(u.Pods), "cpu": float64(u.MilliCPU) / 1000,
		"memory": float64(u.MilliGiB) / 1000 * float64(sizes.GiB),
	}
}

// CloudLimits returns the limits of a namespace: those of its annotation, or without one those of the configuration.
// With an error it returns limits that allow nothing.
func (p *Policy) CloudLimits(namespaceAnnotations map[string]string) (CloudLimits, error) {
	text, ok := namespaceAnnotations[CloudLimitsAnnotation]
	if !ok {
		return p.cloudLimits, nil
	}
	limits, err := ParseCloudLimits(text)
	if err != nil {
		return NoCloud(), err
	}
	return limits, nil
}

// NoCloud returns limits that allow nothing.
func NoCloud() CloudLimits { return CloudLimits{pods: new(int64), text: "pods=0"} }

// Fits reports whether the cloud has a size and the storage for what a Pod requests. The size that an annotation
// requests does not matter.
func (p *Policy) Fits(spec *corev1.PodSpec) bool {
	_, err := p.config.CCIVersion.Size(nil, spec, p.defaultSize)
	return err == nil && sizes.NeedOf(spec, corev1.ResourceEphemeralStorage) <= MostStorage*sizes.GiB
}

// CloudUse returns what a Pod uses in the cloud: one Pod of the size that is billed. A Pod that was resized counts with
// the resources that its containers have by its status, if these are more: the cloud does not resize a Pod. CloudUse
// returns an error if no size holds the Pod.
func (p *Policy) CloudUse(pod *corev1.Pod) (CloudUse, error) {
	size, err := p.config.CCIVersion.Size(pod.Annotations, actualSpec(pod), p.defaultSize)
	if err != nil {
		return CloudUse{}, fmt.Errorf("finding the billed size of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return CloudUse{Pods: 1, Flavor: size}, nil
}

// actualSpec returns the spec of a Pod, with containers that request at least what they have by the status of the Pod.
func actualSpec(pod *corev1.Pod) *corev1.PodSpec {
	spec := pod.Spec
	spec.Containers = withActual(spec.Containers, pod.Status.ContainerStatuses)
	spec.InitContainers = withActual(spec.InitContainers, pod.Status.InitContainerStatuses)
	return &spec
}

// withActual returns containers with the larger of each resource. It changes copies only.
func withActual(containers []corev1.Container, statuses []corev1.ContainerStatus) []corev1.Container {
	if len(statuses) == 0 {
		return containers
	}
	copied := false
	var byName map[string]*corev1.ResourceRequirements
	for at := range containers {
		var has *corev1.ResourceRequirements
		if at < len(statuses) && statuses[at].Name == containers[at].Name {
			has = statuses[at].Resources
		} else {
			if byName == nil {
				byName = map[string]*corev1.ResourceRequirements{}
				for i := range statuses {
					byName[statuses[i].Name] = statuses[i].Resources
				}
			}
			has = byName[containers[at].Name]
		}
		if has == nil {
			continue
		}
		wants := containers[at].Resources
		limits, moreLimits := larger(wants.Limits, has.Limits)
		requests, moreRequests := larger(wants.Requests, has.Requests)
		if !moreLimits && !moreRequests {
			continue
		}
		if !copied {
			containers, copied = slices.Clone(containers), true
		}
		containers[at].Resources.Limits, containers[at].Resources.Requests = limits, requests
	}
	return containers
}

// larger returns the larger of each resource that determines a size, and whether that is more than wants.
func larger(wants, has corev1.ResourceList) (list corev1.ResourceList, more bool) {
	list = wants
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if sizes.Amount(has[name], name) <= sizes.Amount(wants[name], name) {
			continue
		}
		if !more {
			list, more = maps.Clone(wants), true
			if list == nil {
				list = corev1.ResourceList{}
			}
		}
		list[name] = has[name]
	}
	return list, more
}
