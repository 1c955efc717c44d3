package podlife

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// environment returns the environment of a container's process at its start: the variables of ConfigMaps and Secrets
// first, then those of the container, so that the later wins. It leaves out what does not exist and is optional.
func environment(tx store.Tx, pod *objects.Pod, container *corev1.Container) []string {
	var all []string
	for _, from := range container.EnvFrom {
		data := map[string]string{}
		if from.ConfigMapRef != nil {
			data = dataOf(tx.View, objects.ConfigMaps, pod.Namespace, from.ConfigMapRef.Name)
		} else if from.SecretRef != nil {
			data = dataOf(tx.View, objects.Secrets, pod.Namespace, from.SecretRef.Name)
		}
		for name, value := range data {
			all = append(all, from.Prefix+name+"="+value)
		}
	}
	slices.Sort(all)
	for _, env := range container.Env {
		if value, ok := valueOf(tx, pod, env); ok {
			all = append(all, env.Name+"="+value)
		}
	}
	return all
}

// valueOf returns the value of one variable, and whether it has one.
func valueOf(tx store.Tx, pod *objects.Pod, env corev1.EnvVar) (value string, ok bool) {
	from := env.ValueFrom
	switch {
	case from == nil:
		return env.Value, true
	case from.FieldRef != nil && (from.FieldRef.FieldPath == "status.podIP" || from.FieldRef.FieldPath == "status.podIPs"):
		return pod.Status.PodIP, true
	case from.ConfigMapKeyRef != nil:
		value, ok = dataOf(tx.View, objects.ConfigMaps, pod.Namespace, from.ConfigMapKeyRef.Name)[from.ConfigMapKeyRef.Key]
	case from.SecretKeyRef != nil:
		value, ok = dataOf(tx.View, objects.Secrets, pod.Namespace, from.SecretKeyRef.Name)[from.SecretKeyRef.Key]
	}
	return value, ok
}

// dataOf returns the data of a ConfigMap or Secret, nil if it does not exist.
func dataOf(v store.View, res *objects.Resource, namespace, name string) map[string]string {
	switch obj := v.Get(res, types.NamespacedName{Namespace: namespace, Name: name}).(type) {
	case *objects.ConfigMap:
		return obj.Data
	case *objects.Secret:
		data := map[string]string{}
		for name, value := range obj.Data {
			data[name] = string(value)
		}
		return data
	}
	return nil
}
