package ccisim

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// mountVolumes reports whether what the Pod's volumes show is there. A Pod that has started keeps what it has mounted.
func (l *podLife) mountVolumes() bool {
	if l.pod.Status.PodIP != "" {
		return true
	}
	for i := range l.pod.Spec.Volumes {
		volume := &l.pod.Spec.Volumes[i]
		if words := l.s.missingSource(l.pod.Namespace, volume); words != "" {
			l.s.held[keyOf(l.pod)] = true
			l.s.recordEvent(l.pod, corev1.EventTypeWarning, "FailedMount", fmt.Sprintf("MountVolume.SetUp failed for volume %q : %s", volume.Name, words))
			return false
		}
	}
	return true
}

// missingSource says which object a volume cannot show. Holds mu.
func (s *Sim) missingSource(namespace string, volume *corev1.Volume) string {
	switch {
	case volume.ConfigMap != nil:
		return s.missing(configMaps, namespace, volume.ConfigMap.Name, "", volume.ConfigMap.Optional)
	case volume.Secret != nil:
		return s.missing(secrets, namespace, volume.Secret.SecretName, "", volume.Secret.Optional)
	case volume.PersistentVolumeClaim != nil:
		return s.unbound(namespace, volume.PersistentVolumeClaim.ClaimName)
	case volume.Projected != nil:
		for _, source := range volume.Projected.Sources {
			words := ""
			if source.ConfigMap != nil {
				words = s.missing(configMaps, namespace, source.ConfigMap.Name, "", source.ConfigMap.Optional)
			} else if source.Secret != nil {
				words = s.missing(secrets, namespace, source.Secret.Name, "", source.Secret.Optional)
			}
			if words != "" {
				return words
			}
		}
	}
	return ""
}

// unbound says what a claim lacks for being mounted. Holds mu.
func (s *Sim) unbound(namespace, name string) string {
	claim, ok := s.store.get(claims, key{namespace, name}).(*PersistentVolumeClaim)
	switch {
	case !ok:
		return fmt.Sprintf("persistentvolumeclaim %q not found", name)
	case claim.Status.Phase != corev1.ClaimBound:
		return fmt.Sprintf("persistentvolumeclaim %q is not bound", name)
	case claim.DeletionTimestamp != nil:
		return fmt.Sprintf("persistentvolumeclaim %q is being deleted", name)
	}
	return ""
}

// missingVariable says what a container's environment lacks. Holds mu.
func (s *Sim) missingVariable(namespace string, c *corev1.Container) string {
	for _, from := range c.EnvFrom {
		words := ""
		if from.ConfigMapRef != nil {
			words = s.missing(configMaps, namespace, from.ConfigMapRef.Name, "", from.ConfigMapRef.Optional)
		} else if from.SecretRef != nil {
			words = s.missing(secrets, namespace, from.SecretRef.Name, "", from.SecretRef.Optional)
		}
		if words != "" {
			return words
		}
	}
	for _, env := range c.Env {
		words := ""
		switch from := env.ValueFrom; {
		case from == nil:
		case from.ConfigMapKeyRef != nil:
			words = s.missing(configMaps, namespace, from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Key, from.ConfigMapKeyRef.Optional)
		case from.SecretKeyRef != nil:
			words = s.missing(secrets, namespace, from.SecretKeyRef.Name, from.SecretKeyRef.Key, from.SecretKeyRef.Optional)
		}
		if words != "" {
			return words
		}
	}
	return ""
}

// missing says, in the kubelet's words, that a ConfigMap or Secret is not there, or lacks a key. Holds mu.
func (s *Sim) missing(res *resource, namespace, name, dataKey string, optional *bool) string {
	if optional != nil && *optional {
		return ""
	}
	has := false
	switch obj := s.store.get(res, key{namespace, name}).(type) {
	case nil:
		return fmt.Sprintf("%s %q not found", res.plural[:len(res.plural)-1], name)
	case *ConfigMap:
		_, has = obj.Data[dataKey]
	case *Secret:
		_, has = obj.Data[dataKey]
	}
	if dataKey != "" && !has {
		return fmt.Sprintf("couldn't find key %s in %s %s/%s", dataKey, res.kind, namespace, name)
	}
	return ""
}
