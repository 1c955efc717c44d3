package translate

import (
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/spillway-k8s/spillway/policy/sizes"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// env resolves what the cloud would resolve wrongly: there the downward API speaks of the cloud Pod. What comes first is ours; a
// container's own variable of the same name wins.
func (b *builder) env(c *corev1.Container) []corev1.EnvVar {
	var env []corev1.EnvVar
	for _, e := range b.ownEnv(c) {
		if !slices.ContainsFunc(c.Env, func(own corev1.EnvVar) bool { return own.Name == e.Name }) {
			env = append(env, e)
		}
	}
	for _, e := range c.Env {
		if resolved, ok := b.envVar(c, e); ok {
			env = append(env, resolved)
		}
	}
	return env
}

// ownEnv is what a node gives to every container: its time zone, where it is asked for, and where the API server is.
func (b *builder) ownEnv(c *corev1.Container) []corev1.EnvVar {
	var env []corev1.EnvVar
	if b.translator.config.TimeZone != "" && b.mountsLocaltime(c) {
		env = append(env, corev1.EnvVar{Name: "TZ", Value: b.translator.config.TimeZone})
	}
	if host, port, err := net.SplitHostPort(b.translator.config.APIServer); err == nil {
		env = append(env, corev1.EnvVar{Name: "KUBERNETES_SERVICE_HOST", Value: host}, corev1.EnvVar{Name: "KUBERNETES_SERVICE_PORT", Value: port},
			corev1.EnvVar{Name: "KUBERNETES_SERVICE_PORT_HTTPS", Value: port})
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

// envFrom refers to mirrors: values never travel in a Pod's spec.
func (b *builder) envFrom(c *corev1.Container) []corev1.EnvFromSource {
	var sources []corev1.EnvFromSource
	for _, from := range c.EnvFrom {
		carried := corev1.EnvFromSource{Prefix: from.Prefix}
		switch {
		case from.ConfigMapRef != nil:
			carried.ConfigMapRef = &corev1.ConfigMapEnvSource{
				LocalObjectReference: b.mirror(identity.MirrorConfigMap, from.ConfigMapRef.Name), Optional: from.ConfigMapRef.Optional,
			}
		case from.SecretRef != nil:
			carried.SecretRef = &corev1.SecretEnvSource{
				LocalObjectReference: b.mirror(identity.MirrorSecret, from.SecretRef.Name), Optional: from.SecretRef.Optional,
			}
		default:
			b.refuse("container %s has variables from a source that the cloud does not know", c.Name)
		}
		sources = append(sources, carried)
	}
	return sources
}

// envVar resolves one variable; ok is false where it is left out.
func (b *builder) envVar(c *corev1.Container, e corev1.EnvVar) (resolved corev1.EnvVar, ok bool) {
	switch from := e.ValueFrom; {
	case from == nil:
		return e, true
	case from.ConfigMapKeyRef != nil:
		return corev1.EnvVar{Name: e.Name, ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
			LocalObjectReference: b.mirror(identity.MirrorConfigMap, from.ConfigMapKeyRef.Name), Key: from.ConfigMapKeyRef.Key, Optional: from.ConfigMapKeyRef.Optional,
		}}}, true
	case from.SecretKeyRef != nil:
		return corev1.EnvVar{Name: e.Name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: b.mirror(identity.MirrorSecret, from.SecretKeyRef.Name), Key: from.SecretKeyRef.Key, Optional: from.SecretKeyRef.Optional,
		}}}, true
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
		c = b.find(selector.ContainerName)
	}
	if c == nil {
		return "", fmt.Errorf("there is no container %q", selector.ContainerName)
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

// divide counts absurd quantities as the most that there is, as package policy does: Quantity's own arithmetic takes minutes over them.
func divide(quantity, divisor resource.Quantity, name corev1.ResourceName) string {
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	return ceil(sizes.Amount(quantity, name), sizes.Amount(divisor, name))
}

func ceil(value, divisor int64) string {
	return strconv.FormatInt(int64(math.Ceil(float64(value)/float64(divisor))), 10)
}
