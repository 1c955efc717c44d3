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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// env translates the variables of a container. It resolves fields of the Pod, because the cloud would resolve those of
// the cloud Pod. Variables of the node come first. A variable of the container with the same name replaces them.
func (b *builder) env(c *corev1.Container) []corev1.EnvVar {
	own := make(map[string]bool, len(c.Env))
	for _, e := range c.Env {
		own[e.Name] = true
	}
	var env []corev1.EnvVar
	for _, e := range b.nodeEnv(c) {
		if !own[e.Name] {
			own[e.Name] = true
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

// nodeEnv returns the variables that the node adds: the time zone for containers that mount /etc/localtime, the address
// of the API server, and the variables of Services. The first one of a name counts.
func (b *builder) nodeEnv(c *corev1.Container) []corev1.EnvVar {
	var env []corev1.EnvVar
	if b.translator.config.TimeZone != "" && b.mountsLocaltime(c) {
		env = append(env, corev1.EnvVar{Name: "TZ", Value: b.translator.config.TimeZone})
	}
	if host, port := b.apiServer(); host != "" {
		env = append(env,
			corev1.EnvVar{Name: "KUBERNETES_SERVICE_HOST", Value: host},
			corev1.EnvVar{Name: "KUBERNETES_SERVICE_PORT", Value: port},
			corev1.EnvVar{Name: "KUBERNETES_SERVICE_PORT_HTTPS", Value: port})
	}
	return append(env, b.links...)
}

// apiServer returns where the Pod reaches the API server, unless the variables of Services say so.
func (b *builder) apiServer() (host, port string) {
	if host, port, err := net.SplitHostPort(b.translator.config.APIServer); err == nil {
		return host, port
	}
	if b.mode != policy.ServicesProxy {
		return "", ""
	}
	// Not every certificate of an API server has the full name.
	host, domain := apiService+"."+metav1.NamespaceDefault+".svc", b.translator.config.ClusterDomain
	if !slices.Contains(b.searches, domain) {
		host += "." + domain
	}
	return host, strconv.Itoa(int(b.apiServerPort()))
}

func (b *builder) mountsLocaltime(c *corev1.Container) bool {
	for _, m := range c.VolumeMounts {
		if b.localtime[m.Name] {
			return true
		}
	}
	return false
}

// envFrom translates references to references to mirrors. The spec of a cloud Pod never contains values of Secrets or
// ConfigMaps.
func (b *builder) envFrom(c *corev1.Container) []corev1.EnvFromSource {
	var sources []corev1.EnvFromSource
	for _, from := range c.EnvFrom {
		translated := corev1.EnvFromSource{Prefix: from.Prefix}
		switch {
		case from.ConfigMapRef != nil:
			translated.ConfigMapRef = &corev1.ConfigMapEnvSource{
				LocalObjectReference: b.mirror(identity.MirrorConfigMap, from.ConfigMapRef.Name),
				Optional:             from.ConfigMapRef.Optional,
			}
		case from.SecretRef != nil:
			translated.SecretRef = &corev1.SecretEnvSource{
				LocalObjectReference: b.mirror(identity.MirrorSecret, from.SecretRef.Name),
				Optional:             from.SecretRef.Optional,
			}
		default:
			b.refuse("container %s has variables from a source that the cloud does not support", c.Name)
		}
		sources = append(sources, translated)
	}
	return sources
}

// PreferEnvFrom returns a cloud Pod without those variables of the node that a container has from its envFrom: a
// kubelet adds its variables last, and only those that are missing. In the cloud they would win. keys returns the keys
// of a ConfigMap or Secret. The arguments are not changed.
func PreferEnvFrom(cloud *cci.Pod, pod *corev1.Pod, keys func(identity.Mirror) map[string]bool) *cci.Pod {
	changed := *cloud
	changed.Spec.InitContainers = preferEnvFrom(cloud.Spec.InitContainers, pod, pod.Spec.InitContainers, keys)
	changed.Spec.Containers = preferEnvFrom(cloud.Spec.Containers, pod, pod.Spec.Containers, keys)
	return &changed
}

func preferEnvFrom(
	list []cci.Container, pod *corev1.Pod, originals []corev1.Container, keys func(identity.Mirror) map[string]bool,
) []cci.Container {
	list = slices.Clone(list)
	for i := range originals {
		c := &originals[i]
		at := slices.IndexFunc(list, func(cloud cci.Container) bool { return cloud.Name == c.Name })
		if at < 0 || len(c.EnvFrom) == 0 || len(list[at].Env) == len(c.Env) {
			continue
		}
		own, from := map[string]bool{}, map[string]bool{}
		for _, e := range c.Env {
			own[e.Name] = true
		}
		for _, source := range c.EnvFrom {
			mirror := identity.Mirror{Kind: identity.MirrorConfigMap, Namespace: pod.Namespace}
			if source.ConfigMapRef != nil {
				mirror.Name = source.ConfigMapRef.Name
			} else if source.SecretRef != nil {
				mirror.Kind, mirror.Name = identity.MirrorSecret, source.SecretRef.Name
			}
			for key := range keys(mirror) {
				from[source.Prefix+key] = true
			}
		}
		list[at].Env = slices.DeleteFunc(slices.Clone(list[at].Env), func(e corev1.EnvVar) bool {
			return from[e.Name] && !own[e.Name]
		})
	}
	return list
}

// envVar translates one variable. ok is false if the variable is refused.
func (b *builder) envVar(c *corev1.Container, e corev1.EnvVar) (resolved corev1.EnvVar, ok bool) {
	switch from := e.ValueFrom; {
	case from == nil:
		return e, true
	case from.ConfigMapKeyRef != nil:
		selector := &corev1.ConfigMapKeySelector{
			LocalObjectReference: b.mirror(identity.MirrorConfigMap, from.ConfigMapKeyRef.Name),
			Key:                  from.ConfigMapKeyRef.Key, Optional: from.ConfigMapKeyRef.Optional,
		}
		return corev1.EnvVar{Name: e.Name, ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: selector}}, true
	case from.SecretKeyRef != nil:
		selector := &corev1.SecretKeySelector{
			LocalObjectReference: b.mirror(identity.MirrorSecret, from.SecretKeyRef.Name),
			Key:                  from.SecretKeyRef.Key, Optional: from.SecretKeyRef.Optional,
		}
		return corev1.EnvVar{Name: e.Name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: selector}}, true
	case from.FieldRef != nil:
		return b.envField(c, e)
	case from.ResourceFieldRef != nil:
		return b.envResource(c, e)
	default:
		b.refuse("variable %s of container %s has a source that the cloud does not support", e.Name, c.Name)
	}
	return corev1.EnvVar{}, false
}

// envField sets a variable to the value of a field of the Pod.
func (b *builder) envField(c *corev1.Container, e corev1.EnvVar) (corev1.EnvVar, bool) {
	path := e.ValueFrom.FieldRef.FieldPath
	if path == "status.podIP" || path == "status.podIPs" {
		// The value is unknown before the cloud Pod exists. The documents disagree on whether CCI resolves the field.
		// If it does not, it refuses the Pod. Source: CCI API, "ObjectFieldSelector".
		b.warn("variable %s of container %s is resolved by the cloud: %s is unknown before the Pod starts",
			e.Name, c.Name, path)
		return e, true
	}
	value, ok := b.field(path)
	if !ok {
		b.refuse("variable %s of container %s refers to %s, which is not available in the cloud", e.Name, c.Name, path)
		return corev1.EnvVar{}, false
	}
	return b.literal(e.Name, value)
}

// field returns the value that a field has for the kubelet of a local node.
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

// subscript returns the key of a path such as metadata.labels['key'].
func subscript(path, field string) (key string, ok bool) {
	rest, found := strings.CutPrefix(path, field+"['")
	if !found {
		return "", false
	}
	return strings.CutSuffix(rest, "']")
}

// envResource sets a variable to a limit or request of a container.
func (b *builder) envResource(c *corev1.Container, e corev1.EnvVar) (corev1.EnvVar, bool) {
	selector := e.ValueFrom.ResourceFieldRef
	value, err := b.resourceField(c, selector)
	if err != nil {
		b.refuse("variable %s of container %s: %v", e.Name, c.Name, err)
		return corev1.EnvVar{}, false
	}
	return b.literal(e.Name, value)
}

// resourceField returns the value that the kubelet computes. It is rounded up to the divisor. For a limit that is not
// set the kubelet shows what is allocatable on the node. Here it is what the container has in the cloud: the limit that
// it gets there, which is its request, or without one the size of the cloud Pod. Source: Kubernetes documentation,
// "Downward API", "Information available via resourceFieldRef"; Kubernetes v1.36, pkg/api/v1/resource/helpers.go,
// MergeContainerResourceLimits.
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
	quantity := list[corev1.ResourceName(name)]
	if quantity.IsZero() && isLimit {
		quantity = b.limit(c, corev1.ResourceName(name))
	}
	return divide(quantity, selector.Divisor, corev1.ResourceName(name)), nil
}

// limit returns how much of a resource a container without a limit can use in the cloud.
func (b *builder) limit(c *corev1.Container, name corev1.ResourceName) resource.Quantity {
	if name == corev1.ResourceEphemeralStorage {
		return *resource.NewQuantity(b.storage()*gib, resource.BinarySI)
	}
	if quantity, ok := b.share(c)[name]; ok {
		return quantity
	}
	return b.size.Resources()[name]
}

// find returns the container or init container of that name, nil if there is none.
func (b *builder) find(name string) *corev1.Container {
	if b.byName == nil {
		b.byName = map[string]*corev1.Container{}
		for _, list := range [][]corev1.Container{b.spec.InitContainers, b.spec.Containers} {
			for i := range list {
				b.byName[list[i].Name] = &list[i]
			}
		}
	}
	return b.byName[name]
}

// divide divides and rounds up. It treats extremely large quantities as the maximum (see sizes.Amount), because the
// arithmetic of Quantity takes minutes for them.
func divide(quantity, divisor resource.Quantity, name corev1.ResourceName) string {
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	return ceil(sizes.Amount(quantity, name), sizes.Amount(divisor, name))
}

func ceil(value, divisor int64) string {
	return strconv.FormatInt(int64(math.Ceil(float64(value)/float64(divisor))), 10)
}
