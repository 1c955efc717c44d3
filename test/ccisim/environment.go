package ccisim

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// environment is that of a container's process as it starts: ConfigMaps and Secrets first, then what it sets itself, so that the later wins. What
// is not there, and may be missing, is left out. Holds mu.
func (s *Sim) environment(pod *Pod, c *corev1.Container) []string {
	var all []string
	for _, from := range c.EnvFrom {
		data := map[string]string{}
		if from.ConfigMapRef != nil {
			data = s.dataOf(configMaps, pod.Namespace, from.ConfigMapRef.Name)
		} else if from.SecretRef != nil {
			data = s.dataOf(secrets, pod.Namespace, from.SecretRef.Name)
		}
		for name, value := range data {
			all = append(all, from.Prefix+name+"="+value)
		}
	}
	slices.Sort(all)
	for _, variable := range c.Env {
		if value, known := s.variable(pod, variable); known {
			all = append(all, variable.Name+"="+value)
		}
	}
	return all
}

// variable is the value of one variable. Holds mu.
func (s *Sim) variable(pod *Pod, variable corev1.EnvVar) (value string, known bool) {
	from := variable.ValueFrom
	switch {
	case from == nil:
		return variable.Value, true
	case from.FieldRef != nil && (from.FieldRef.FieldPath == "status.podIP" || from.FieldRef.FieldPath == "status.podIPs"):
		return pod.Status.PodIP, true
	case from.ConfigMapKeyRef != nil:
		value, known = s.dataOf(configMaps, pod.Namespace, from.ConfigMapKeyRef.Name)[from.ConfigMapKeyRef.Key]
	case from.SecretKeyRef != nil:
		value, known = s.dataOf(secrets, pod.Namespace, from.SecretKeyRef.Name)[from.SecretKeyRef.Key]
	}
	return value, known
}

// dataOf is what a ConfigMap or Secret holds; nothing where it is not there. Holds mu.
func (s *Sim) dataOf(res *resource, namespace, name string) map[string]string {
	switch obj := s.store.get(res, key{namespace, name}).(type) {
	case *ConfigMap:
		return obj.Data
	case *Secret:
		data := map[string]string{}
		for name, value := range obj.Data {
			data[name] = string(value)
		}
		return data
	}
	return nil
}
