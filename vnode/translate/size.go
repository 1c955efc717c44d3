package translate

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
	"github.com/spillway-k8s/spillway/vnode/cci"
)

// sized are the resources that make a cloud Pod's size. Everything else is a node's.
var sized = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}

// chooseSize is the smallest that holds the Pod, or the configured one for a Pod that asks for nothing.
func (b *builder) chooseSize() sizes.Flavor {
	need := sizes.Need(b.spec)
	nothing := need.Cpu().IsZero() && need.Memory().IsZero()
	if b.translator.config.Version == policy.CCI1 {
		return b.fitCCI1(nothing)
	}
	if _, asked := b.pod.Annotations[policy.FlavorAnnotation]; !asked && nothing {
		return b.translator.defaultSize
	}
	size, err := sizes.For(b.pod.Annotations, b.spec)
	if err != nil {
		b.refuse("%v", err)
	}
	return size
}

// fitCCI1 is the same for CCI 1.0, where the containers' resources make the size.
func (b *builder) fitCCI1(nothing bool) sizes.Flavor {
	var least sizes.Flavor
	if nothing {
		least = b.translator.defaultSize
	}
	if b.pod.Annotations[policy.FlavorAnnotation] != "" {
		b.warn("annotation %s is left out: CCI 1.0 takes the containers' resources, rounded up", policy.FlavorAnnotation)
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

// resources gives a container its limit, or else its request, as both: CCI has been seen to refuse requests that differ from
// limits, and bills the Pod's size anyway.
func (b *builder) resources(c *corev1.Container) cci.Resources {
	b.checkResources(c)
	if b.shares != nil {
		return equal(b.shares[c])
	}
	list := corev1.ResourceList{}
	for _, name := range sized {
		if quantity, ok := c.Resources.Limits[name]; ok {
			list[name] = quantity
		} else if quantity, ok := c.Resources.Requests[name]; ok {
			list[name] = quantity
		}
	}
	return equal(list)
}

// equal makes a list both the limits and the requests.
func equal(list corev1.ResourceList) cci.Resources {
	if len(list) == 0 {
		return cci.Resources{}
	}
	return cci.Resources{Limits: list, Requests: list}
}

// checkResources refuses devices: without its GPU a Pod would run and be wrong.
func (b *builder) checkResources(c *corev1.Container) {
	if len(c.Resources.Claims) > 0 {
		b.refuse("container %s has dynamic resource claims, which the cloud does not know", c.Name)
	}
	for name, quantity := range c.Resources.Requests {
		switch {
		case name == corev1.ResourceCPU, name == corev1.ResourceMemory, name == policy.PlacementResource, quantity.IsZero():
		case name == corev1.ResourceEphemeralStorage: // See extraStorage.
		default:
			b.refuse("container %s requests %s, which the cloud does not have", c.Name, name)
		}
	}
}

// The disk of a cloud Pod, in GiB, that everyone has. Source: CCI manual, "Ephemeral storage".
const (
	freeStorage = 30
	// firstStorage is what everyone has in CCI 1.0, where none can be bought.
	firstStorage = 20
)

// extraStorage is the disk that the Pod asks for beyond what it gets anyhow, nil for none.
func (b *builder) extraStorage() *cci.ExtraEphemeralStorage {
	bytes := sizes.NeedOf(b.spec, corev1.ResourceEphemeralStorage)
	wanted := bytes / gib
	if bytes%gib > 0 {
		wanted++
	}
	switch {
	case b.translator.config.Version == policy.CCI1:
		if wanted > firstStorage {
			b.warn("ephemeral storage beyond the %dGi that CCI 1.0 gives every Pod is left out", firstStorage)
		}
		return nil
	case wanted <= freeStorage:
		return nil
	case wanted > policy.MostStorage:
		b.refuse("the Pod asks for more ephemeral storage than the %dGi that the cloud gives at most", policy.MostStorage)
		return nil
	}
	return &cci.ExtraEphemeralStorage{SizeInGiB: int32(wanted - freeStorage)}
}

const gib = int64(1) << 30
