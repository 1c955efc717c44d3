package translate

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
	"github.com/spillway-k8s/spillway/vnode/cci"
)

// sized are the resources that determine the size of a cloud Pod.
var sized = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}

// chooseSize returns the size of the Pod, which is also the one that counts towards the limits of its namespace.
func (b *builder) chooseSize() sizes.Flavor {
	if b.translator.config.Version == policy.CCI1 {
		return b.fitCCI1()
	}
	size, err := b.translator.config.Version.Size(b.pod.Annotations, b.spec, b.translator.defaultSize)
	if err != nil {
		b.refuse("%v", err)
	}
	return size
}

// SizeOf returns the size of a translated Pod, such as 2.00_4.0, with the type of instance if the Pod requests one: the
// cloud may have capacity for one type only. It contains no text that users choose.
func SizeOf(pod *cci.Pod) string {
	size := cmp.Or(pod.Annotations[policy.FlavorAnnotation], pod.Annotations[policy.CloudSizeAnnotation])
	family := sizes.Family(pod.Annotations[sizes.InstanceTypeAnnotation])
	if slices.Contains(sizes.Families(), family) {
		size += " " + string(family)
	}
	return size
}

// BilledSize returns the size of a translated Pod, zero if its annotations do not say it.
func BilledSize(pod *cci.Pod) sizes.Flavor {
	text := cmp.Or(pod.Annotations[policy.FlavorAnnotation], pod.Annotations[policy.CloudSizeAnnotation])
	size, err := sizes.Parse(text)
	if err != nil {
		return sizes.Flavor{}
	}
	return size
}

// fitCCI1 does the same for CCI 1.0, where the size is the sum of the resources of the containers.
func (b *builder) fitCCI1() sizes.Flavor {
	var least sizes.Flavor
	if policy.RequestsNothing(b.spec) {
		least = b.translator.defaultSize
	}
	if b.pod.Annotations[policy.FlavorAnnotation] != "" {
		b.warn("annotation %s is ignored: CCI 1.0 uses the resources of the containers, rounded up",
			policy.FlavorAnnotation)
	}
	fit, err := sizes.FitCCI1(b.spec, least)
	if err != nil {
		b.refuse("%v", err)
		return sizes.Flavor{}
	}
	b.shares = map[*corev1.Container]corev1.ResourceList{}
	for i := range b.spec.InitContainers {
		b.shares[&b.spec.InitContainers[i]] = fit.Init[i]
	}
	for i := range b.spec.Containers {
		b.shares[&b.spec.Containers[i]] = fit.Containers[i]
	}
	return fit.Size
}

// resources sets both the limit and the request of a container to its limit, or to its request if it has no limit. CCI
// has been seen to refuse requests that differ from limits, and bills the size of the Pod in any case.
func (b *builder) resources(c *corev1.Container) cci.Resources {
	b.checkResources(c)
	return equal(b.share(c))
}

// share returns the resources that a container has in the cloud. What is not in the list is limited by the size of the
// Pod only.
func (b *builder) share(c *corev1.Container) corev1.ResourceList {
	if b.shares != nil {
		return b.shares[c]
	}
	list := corev1.ResourceList{}
	for _, name := range sized {
		if quantity, ok := c.Resources.Limits[name]; ok {
			list[name] = quantity
		} else if quantity, ok := c.Resources.Requests[name]; ok {
			list[name] = quantity
		}
	}
	return list
}

// equal returns a list as both the limits and the requests.
func equal(list corev1.ResourceList) cci.Resources {
	if len(list) == 0 {
		return cci.Resources{}
	}
	return cci.Resources{Limits: list, Requests: list}
}

// checkResources refuses devices. A Pod without its GPU would run but not work.
func (b *builder) checkResources(c *corev1.Container) {
	if len(c.Resources.Claims) > 0 {
		b.refuse("container %s has dynamic resource claims, which the cloud does not support", c.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Resources.Requests)) {
		quantity := c.Resources.Requests[name]
		switch {
		case slices.Contains(sized, name), name == policy.PlacementResource, quantity.IsZero():
		case name == corev1.ResourceEphemeralStorage: // See extraStorage.
		default:
			b.refuse("container %s requests %s, which the cloud does not offer", c.Name, name)
		}
	}
}

// The ephemeral storage that every cloud Pod has at no charge, in GiB. Source: CCI manual, "Ephemeral storage".
const (
	freeStorage = 30
	// freeStorageCCI1 is the same for CCI 1.0, where it cannot be extended.
	freeStorageCCI1 = 20
)

// wantedStorage returns the ephemeral storage that the Pod requests, in GiB, rounded up.
func (b *builder) wantedStorage() int64 {
	bytes := sizes.NeedOf(b.spec, corev1.ResourceEphemeralStorage)
	if bytes%gib > 0 {
		return bytes/gib + 1
	}
	return bytes / gib
}

// storage returns the ephemeral storage that the Pod has in the cloud, in GiB.
func (b *builder) storage() int64 {
	if b.translator.config.Version == policy.CCI1 {
		return freeStorageCCI1
	}
	return min(max(freeStorage, b.wanted), policy.MostStorage)
}

// extraStorage returns the ephemeral storage that the Pod requests in addition to what it has at no charge, nil for
// none.
func (b *builder) extraStorage() *cci.ExtraEphemeralStorage {
	switch {
	case b.translator.config.Version == policy.CCI1:
		if b.wanted > freeStorageCCI1 {
			b.warn("ephemeral storage above the %dGi of every Pod of CCI 1.0 is ignored", freeStorageCCI1)
		}
		return nil
	case b.wanted <= freeStorage:
		return nil
	case b.wanted > policy.MostStorage:
		b.refuse("the Pod requests more ephemeral storage than %dGi, the maximum in the cloud", policy.MostStorage)
		return nil
	}
	return &cci.ExtraEphemeralStorage{SizeInGiB: int32(b.wanted - freeStorage)}
}

const gib = int64(1) << 30
