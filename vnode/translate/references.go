package translate

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/vnode/identity"
)

// Reference is a reference of a Pod to one object.
type Reference struct {
	identity.Mirror
	// Optional means that the Pod can start without the object.
	Optional bool
	// Keys are the keys without which the Pod cannot start.
	Keys []string
	// Tokens are the tokens of a MirrorToken. Kubeconfig: it also has the kubeconfig of the Pod's sidecar.
	Tokens     []corev1.ServiceAccountTokenProjection
	Kubeconfig bool
}

// References lists the objects to which the cloud Pod of a Pod refers, each once. It does not read the objects.
func (t *Translator) References(pod *corev1.Pod) []Reference {
	found := references{index: map[identity.Mirror]int{}}
	for _, secret := range pod.Spec.ImagePullSecrets {
		if secret.Name != "" && !t.isOwnPullSecret(secret.Name) {
			// As on a local node, the image is pulled even if the Secret is missing.
			mirror := identity.Mirror{Kind: identity.MirrorSecret, Namespace: pod.Namespace, Name: secret.Name}
			found.add(Reference{Mirror: mirror, Optional: true})
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
	if r, err := t.services(pod); err == nil && r.mode.HasSidecar() {
		found.add(Reference{Mirror: identity.TokenMirror(pod), Kubeconfig: true})
	}
	return found.list
}

// references is a list of references, and the index of each object in it.
type references struct {
	list  []Reference
	index map[identity.Mirror]int
}

// add merges references to the same object. The object is optional only if all references are.
func (r *references) add(ref Reference) {
	if i, ok := r.index[ref.Mirror]; ok {
		known := &r.list[i]
		known.Optional = known.Optional && ref.Optional
		known.Keys = append(known.Keys, ref.Keys...)
		known.Tokens = append(known.Tokens, ref.Tokens...)
		known.Kubeconfig = known.Kubeconfig || ref.Kubeconfig
		return
	}
	r.index[ref.Mirror] = len(r.list)
	r.list = append(r.list, ref)
}

// addObject adds a reference to an object and its keys. Either all of them are optional or none.
func (r *references) addObject(kind identity.MirrorKind, namespace, name string, optional *bool, keys ...string) {
	ref := Reference{
		Mirror:   identity.Mirror{Kind: kind, Namespace: namespace, Name: name},
		Optional: optional != nil && *optional,
	}
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
		from := v.ConfigMap
		r.addObject(identity.MirrorConfigMap, pod.Namespace, from.Name, from.Optional, itemKeys(from.Items)...)
	case v.Secret != nil:
		from := v.Secret
		r.addObject(identity.MirrorSecret, pod.Namespace, from.SecretName, from.Optional, itemKeys(from.Items)...)
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

// ephemeralClaim returns the name of the claim that Kubernetes creates for a generic ephemeral volume. Source:
// Kubernetes documentation, "Ephemeral Volumes", "PersistentVolumeClaim naming".
func ephemeralClaim(pod *corev1.Pod, v *corev1.Volume) string { return pod.Name + "-" + v.Name }

func (r *references) addProjection(pod *corev1.Pod, source *corev1.VolumeProjection) {
	switch {
	case source.ConfigMap != nil:
		from := source.ConfigMap
		r.addObject(identity.MirrorConfigMap, pod.Namespace, from.Name, from.Optional, itemKeys(from.Items)...)
	case source.Secret != nil:
		from := source.Secret
		r.addObject(identity.MirrorSecret, pod.Namespace, from.Name, from.Optional, itemKeys(from.Items)...)
	case source.ServiceAccountToken != nil:
		tokens := []corev1.ServiceAccountTokenProjection{*source.ServiceAccountToken}
		r.add(Reference{Mirror: identity.TokenMirror(pod), Tokens: tokens})
	}
}

func itemKeys(items []corev1.KeyToPath) []string {
	var keys []string
	for _, item := range items {
		keys = append(keys, item.Key)
	}
	return keys
}

// ownPullSecrets are the names of the Secrets in which clusters of the vendor keep the credentials of its registry.
// They are not copied, because the cloud has credentials of its own. Source: CCE bursting, cce_10_0135; CCE manual,
// "default-secret".
var ownPullSecrets = []string{"default-secret", "imagepull-secret"}

func (t *Translator) isOwnPullSecret(name string) bool {
	return name == t.config.PullSecret || slices.Contains(ownPullSecrets, name)
}
