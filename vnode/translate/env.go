package translate

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// env resolves what the cloud would resolve wrongly: there the downward API speaks of the cloud Pod.
func (b *builder) env(c *corev1.Container) []corev1.EnvVar {
	var env []corev1.EnvVar
	if b.translator.config.TimeZone != "" && b.mountsLocaltime(c) {
		env = append(env, corev1.EnvVar{Name: "TZ", Value: b.translator.config.TimeZone})
	}
	for _, from := range c.EnvFrom {
		b.envFrom(c, from)
	}
	for _, e := range c.Env {
		if resolved, ok := b.envVar(c, e); ok {
			env = append(env, resolved)
		}
	}
	return env
}

func (b *builder) mountsLocaltime(c *corev1.Container) bool {
	for _, m := range c.VolumeMounts {
		if b.localtime[m.Name] {
			return true
		}
	}
	return false
}

func (b *builder) envFrom(c *corev1.Container, from corev1.EnvFromSource) {
	switch {
	case from.ConfigMapRef != nil:
		b.envReference(c, "ConfigMap", from.ConfigMapRef.Name, from.ConfigMapRef.Optional)
	case from.SecretRef != nil:
		b.envReference(c, "Secret", from.SecretRef.Name, from.SecretRef.Optional)
	}
}

// envReference refuses what would be missing, and warns where the Pod says that it can do without.
func (b *builder) envReference(c *corev1.Container, kind, name string, optional *bool) {
	if isOptional(optional) {
		b.warn("container %s goes without the variables of %s %s: it is not carried to the cloud", c.Name, kind, name)
		return
	}
	b.refuse("container %s needs variables of %s %s: virtual nodes do not carry ConfigMaps and Secrets to the cloud", c.Name, kind, name)
}

// envVar resolves one variable; ok is false where it is left out.
func (b *builder) envVar(c *corev1.Container, e corev1.EnvVar) (resolved corev1.EnvVar, ok bool) {
	switch from := e.ValueFrom; {
	case from == nil:
		return e, true
	case from.ConfigMapKeyRef != nil:
		b.envReference(c, "ConfigMap", from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Optional)
	case from.SecretKeyRef != nil:
		b.envReference(c, "Secret", from.SecretKeyRef.Name, from.SecretKeyRef.Optional)
	case from.FieldRef != nil:
		return b.envField(c, e)
	case from.ResourceFieldRef != nil:
		return b.envResource(c, e)
	default:
		b.refuse("variable %s of container %s comes from a source that the cloud does not know", e.Name, c.Name)
	}
	return corev1.EnvVar{}, false
}

// envField writes the field's value into the variable.
func (b *builder) envField(c *corev1.Container, e corev1.EnvVar) (corev1.EnvVar, bool) {
	path := e.ValueFrom.FieldRef.FieldPath
	if path == "status.podIP" || path == "status.podIPs" {
		// Nobody knows it before the Pod has it. The sources differ on whether CCI resolves it: if it does not, it refuses.
		b.warn("variable %s of container %s is left to the cloud to fill in: %s is not known before", e.Name, c.Name, path)
		return e, true
	}
	value, ok := b.field(path)
	if !ok {
		b.refuse("variable %s of container %s refers to %s, which has no meaning in the cloud", e.Name, c.Name, path)
		return corev1.EnvVar{}, false
	}
	return literal(e.Name, value), true
}

// literal makes a variable of a value that is not to be expanded: $$ is Kubernetes' way to write $.
func literal(name, value string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, Value: strings.ReplaceAll(value, "$", "$$")}
}

// field is the value of a field of the Pod as Kubernetes knows it.
func (b *builder) field(path string) (string, bool) {
	switch path {
	case "metadata.name":
		return b.pod.Name, true
	case "metadata.namespace":
		return b.pod.Namespace, true
	case "metadata.uid":
		return string(b.pod.UID), true
	case "spec.nodeName":
		return b.translator.config.Owner.Node, true
	case "spec.serviceAccountName":
		return b.spec.ServiceAccountName, true
	case "status.hostIP", "status.hostIPs":
		return b.translator.config.NodeIP, true
	}
	if key, ok := subscript(path, "metadata.labels"); ok {
		return b.pod.Labels[key], true
	}
	if key, ok := subscript(path, "metadata.annotations"); ok {
		return b.pod.Annotations[key], true
	}
	return "", false
}

// subscript reads the key of a path such as metadata.labels['key'].
func subscript(path, field string) (key string, ok bool) {
	rest, found := strings.CutPrefix(path, field+"['")
	if !found {
		return "", false
	}
	return strings.CutSuffix(rest, "']")
}

// envResource writes a container's limit or request into the variable.
func (b *builder) envResource(c *corev1.Container, e corev1.EnvVar) (corev1.EnvVar, bool) {
	selector := e.ValueFrom.ResourceFieldRef
	value, err := b.resourceField(c, selector)
	if err != nil {
		b.refuse("variable %s of container %s: %v", e.Name, c.Name, err)
		return corev1.EnvVar{}, false
	}
	return literal(e.Name, value), true
}

// resourceField is what the kubelet would compute: rounded up to the divisor, and the most that the Pod can have where the container has
// no limit. Source: Kubernetes, "Downward API, container fields".
func (b *builder) resourceField(c *corev1.Container, selector *corev1.ResourceFieldSelector) (string, error) {
	if selector.ContainerName != "" {
		if c = b.find(selector.ContainerName); c == nil {
			return "", fmt.Errorf("there is no container %s", selector.ContainerName)
		}
	}
	name, isLimit := strings.CutPrefix(selector.Resource, "limits.")
	name = strings.TrimPrefix(name, "requests.")
	list := c.Resources.Requests
	if isLimit {
		list = c.Resources.Limits
	}
	quantity, set := list[corev1.ResourceName(name)]
	if !set && isLimit {
		quantity = b.size.Resources()[corev1.ResourceName(name)]
	}
	return divide(quantity, selector.Divisor, corev1.ResourceName(name)), nil
}

// find is a container or init container by name.
func (b *builder) find(name string) *corev1.Container {
	for _, list := range [][]corev1.Container{b.spec.InitContainers, b.spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

func divide(quantity, divisor resource.Quantity, name corev1.ResourceName) string {
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if name == corev1.ResourceCPU {
		return ceil(quantity.MilliValue(), divisor.MilliValue())
	}
	return ceil(quantity.Value(), divisor.Value())
}

func ceil(value, divisor int64) string {
	return strconv.FormatInt(int64(math.Ceil(float64(value)/float64(divisor))), 10)
}
