package translate

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/vnode/identity"
)

// Reference is what a Pod needs of one object.
type Reference struct {
	identity.Mirror
	// Optional: the Pod can do without it.
	Optional bool
	// Keys are those that the Pod cannot do without.
	Keys []string
	// Tokens are what a MirrorToken holds.
	Tokens []corev1.ServiceAccountTokenProjection
}

// References lists what the cloud Pod of a Pod refers to, each object once. Names are all it says: nothing is read.
func (t *Translator) References(pod *corev1.Pod) []Reference {
	var found references
	for _, secret := range pod.Spec.ImagePullSecrets {
		if secret.Name != "" && !t.isOwnPullSecret(secret.Name) {
			// As on a local node, a missing one is no reason not to try to pull.
			found.add(Reference{Mirror: identity.Mirror{Kind: identity.MirrorSecret, Namespace: pod.Namespace, Name: secret.Name}, Optional: true})
		}
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			found.addContainer(pod.Namespace, &list[i])
		}
	}
	for i := range pod.Spec.Volumes {
		found.addVolume(pod, &pod.Spec.Volumes[i], t.config.NoTokens)
	}
	return found.list
}

type references struct{ list []Reference }

// add joins what several places of a Pod say about one object.
func (r *references) add(ref Reference) {
	for i := range r.list {
		if known := &r.list[i]; known.Mirror == ref.Mirror {
			known.Optional = known.Optional && ref.Optional
			known.Keys = append(known.Keys, ref.Keys...)
			known.Tokens = append(known.Tokens, ref.Tokens...)
			return
		}
	}
	r.list = append(r.list, ref)
}

// addObject adds a reference to an object and to those of its keys that are named, all of them optional or none.
func (r *references) addObject(kind identity.MirrorKind, namespace, name string, optional *bool, keys ...string) {
	ref := Reference{Mirror: identity.Mirror{Kind: kind, Namespace: namespace, Name: name}, Optional: isOptional(optional)}
	if !ref.Optional {
		ref.Keys = keys
	}
	r.add(ref)
}

func (r *references) addContainer(namespace string, c *corev1.Container) {
	for _, from := range c.EnvFrom {
		if ref := from.ConfigMapRef; ref != nil {
			r.addObject(identity.MirrorConfigMap, namespace, ref.Name, ref.Optional)
		}
		if ref := from.SecretRef; ref != nil {
			r.addObject(identity.MirrorSecret, namespace, ref.Name, ref.Optional)
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			continue
		}
		if ref := e.ValueFrom.ConfigMapKeyRef; ref != nil {
			r.addObject(identity.MirrorConfigMap, namespace, ref.Name, ref.Optional, ref.Key)
		}
		if ref := e.ValueFrom.SecretKeyRef; ref != nil {
			r.addObject(identity.MirrorSecret, namespace, ref.Name, ref.Optional, ref.Key)
		}
	}
}

func (r *references) addVolume(pod *corev1.Pod, v *corev1.Volume, noTokens bool) {
	switch {
	case v.ConfigMap != nil:
		r.addObject(identity.MirrorConfigMap, pod.Namespace, v.ConfigMap.Name, v.ConfigMap.Optional, itemKeys(v.ConfigMap.Items)...)
	case v.Secret != nil:
		r.addObject(identity.MirrorSecret, pod.Namespace, v.Secret.SecretName, v.Secret.Optional, itemKeys(v.Secret.Items)...)
	case v.PersistentVolumeClaim != nil:
		r.addObject(identity.MirrorClaim, pod.Namespace, v.PersistentVolumeClaim.ClaimName, nil)
	case v.Ephemeral != nil:
		r.addObject(identity.MirrorClaim, pod.Namespace, ephemeralClaim(pod, v), nil)
	case v.Projected != nil:
		if noTokens && isTokenVolume(v.Name, v.Projected) {
			return
		}
		for _, source := range v.Projected.Sources {
			r.addProjection(pod, &source)
		}
	}
}

// ephemeralClaim is the claim that Kubernetes makes for a generic ephemeral volume. Source: Kubernetes, "PersistentVolumeClaim naming".
func ephemeralClaim(pod *corev1.Pod, v *corev1.Volume) string { return pod.Name + "-" + v.Name }

func (r *references) addProjection(pod *corev1.Pod, source *corev1.VolumeProjection) {
	switch {
	case source.ConfigMap != nil:
		r.addObject(identity.MirrorConfigMap, pod.Namespace, source.ConfigMap.Name, source.ConfigMap.Optional, itemKeys(source.ConfigMap.Items)...)
	case source.Secret != nil:
		r.addObject(identity.MirrorSecret, pod.Namespace, source.Secret.Name, source.Secret.Optional, itemKeys(source.Secret.Items)...)
	case source.ServiceAccountToken != nil:
		r.add(Reference{Mirror: identity.TokenMirror(pod), Tokens: []corev1.ServiceAccountTokenProjection{*source.ServiceAccountToken}})
	}
}

func itemKeys(items []corev1.KeyToPath) []string {
	var keys []string
	for _, item := range items {
		keys = append(keys, item.Key)
	}
	return keys
}

// ownPullSecrets are names under which clusters of the vendor keep the credentials of its registry: the cloud has its own.
// Source: seed 2; CCE manual, "default-secret".
var ownPullSecrets = []string{"default-secret", "imagepull-secret"}

func (t *Translator) isOwnPullSecret(name string) bool {
	return name == t.config.PullSecret || slices.Contains(ownPullSecrets, name)
}
