package cci

import (
	"slices"
	"strings"
)

// Object is an object of a cloud namespace that a Pod refers to.
type Object struct {
	Kind ObjectKind
	Name string
}

// ObjectKind is a kind of Object.
type ObjectKind string

// The kinds of Object.
const (
	ConfigMapObject ObjectKind = "ConfigMap"
	SecretObject    ObjectKind = "Secret"
	ClaimObject     ObjectKind = "PersistentVolumeClaim"
)

// Objects lists the objects that the Pod refers to by name, each once, sorted by kind and name.
func (s *PodSpec) Objects() []Object {
	var list []Object
	for _, secret := range s.ImagePullSecrets {
		list = append(list, Object{SecretObject, secret.Name})
	}
	for _, containers := range [][]Container{s.InitContainers, s.Containers} {
		for i := range containers {
			list = containers[i].appendObjects(list)
		}
	}
	for i := range s.Volumes {
		list = s.Volumes[i].appendObjects(list)
	}
	slices.SortFunc(list, func(a, b Object) int { return strings.Compare(string(a.Kind)+a.Name, string(b.Kind)+b.Name) })
	return slices.Compact(list)
}

func (c *Container) appendObjects(list []Object) []Object {
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef != nil {
			list = append(list, Object{ConfigMapObject, from.ConfigMapRef.Name})
		}
		if from.SecretRef != nil {
			list = append(list, Object{SecretObject, from.SecretRef.Name})
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			continue
		}
		if ref := e.ValueFrom.ConfigMapKeyRef; ref != nil {
			list = append(list, Object{ConfigMapObject, ref.Name})
		}
		if ref := e.ValueFrom.SecretKeyRef; ref != nil {
			list = append(list, Object{SecretObject, ref.Name})
		}
	}
	return list
}

func (v *Volume) appendObjects(list []Object) []Object {
	if v.ConfigMap != nil {
		list = append(list, Object{ConfigMapObject, v.ConfigMap.Name})
	}
	if v.Secret != nil {
		list = append(list, Object{SecretObject, v.Secret.SecretName})
	}
	if v.PersistentVolumeClaim != nil {
		list = append(list, Object{ClaimObject, v.PersistentVolumeClaim.ClaimName})
	}
	if v.Projected == nil {
		return list
	}
	for _, source := range v.Projected.Sources {
		if source.ConfigMap != nil {
			list = append(list, Object{ConfigMapObject, source.ConfigMap.Name})
		}
		if source.Secret != nil {
			list = append(list, Object{SecretObject, source.Secret.Name})
		}
	}
	return list
}
