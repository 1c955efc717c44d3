package translate

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
)

// MirrorKind is what a mirror is a copy of.
type MirrorKind string

const (
	// MirrorConfigMap and MirrorSecret are copies of the object of that name.
	MirrorConfigMap MirrorKind = "ConfigMap"
	MirrorSecret    MirrorKind = "Secret"
	// MirrorToken is a Secret with the service-account tokens of one Pod, which no object of the cluster holds.
	MirrorToken MirrorKind = "Token"
	// MirrorClaim is a PersistentVolumeClaim, with a PersistentVolume of the same cloud name.
	MirrorClaim MirrorKind = "Claim"
)

// Mirror names an object that has, or is to have, a copy in the cloud namespace.
type Mirror struct {
	Kind MirrorKind
	// Namespace and Name are the object's, or of a MirrorToken the Pod's.
	Namespace, Name string
	// UID is the Pod's, of a MirrorToken only.
	UID types.UID
}

// String is for logs.
func (m Mirror) String() string { return string(m.Kind) + " " + m.Namespace + "/" + m.Name }

// TokenMirror is the mirror of a Pod's tokens.
func TokenMirror(pod *corev1.Pod) Mirror {
	return Mirror{Kind: MirrorToken, Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}
}

// MirrorName is the cloud name of a mirror, always the same one. All namespaces of a cluster, and several clusters, may share one cloud
// namespace; each virtual node has mirrors of its own, so that no two write or remove the same object.
func (o Owner) MirrorName(m Mirror) string {
	suffix := "-" + hash(o.ClusterID, o.Node, string(m.Kind), m.Namespace, m.Name, string(m.UID))
	words := strings.ReplaceAll(m.Namespace+"-"+m.Name, ".", "-")
	words = words[:min(len(words), longestName-len(suffix))]
	return strings.TrimRight(words, "-") + suffix
}

// MirrorMeta is the metadata of a mirror whose source has the UID.
func (o Owner) MirrorMeta(m Mirror, source types.UID) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:   o.MirrorName(m),
		Labels: map[string]string{policy.CloudClusterKey: o.ClusterID, policy.CloudOwnerLabel: o.hash()},
		Annotations: map[string]string{
			policy.CloudClusterKey: o.ClusterID, policy.CloudNodeAnnotation: o.Node, policy.CloudSourceKindAnnotation: string(m.Kind),
			policy.CloudSourceNamespaceAnnotation: m.Namespace, policy.CloudSourceNameAnnotation: m.Name, policy.CloudSourceUIDAnnotation: string(source),
		},
	}
}

// OwnsMirror tells whether an object of the cloud is one of the owner's mirrors, and which.
func (o Owner) OwnsMirror(object *metav1.ObjectMeta) (Mirror, bool) {
	m, owner, ok := MirrorIdentity(object)
	return m, ok && owner == o
}

// MirrorIdentity reads from an object of the cloud what it is a copy of, and whose; false where it is no copy.
func MirrorIdentity(object *metav1.ObjectMeta) (Mirror, Owner, bool) {
	a := object.Annotations
	m := Mirror{Kind: MirrorKind(a[policy.CloudSourceKindAnnotation]), Namespace: a[policy.CloudSourceNamespaceAnnotation], Name: a[policy.CloudSourceNameAnnotation]}
	if m.Kind == MirrorToken {
		m.UID = types.UID(a[policy.CloudSourceUIDAnnotation])
	}
	owner := Owner{ClusterID: a[policy.CloudClusterKey], Node: a[policy.CloudNodeAnnotation]}
	return m, owner, owner.ClusterID != "" && owner.Node != "" && object.Name == owner.MirrorName(m)
}

// Reference is what a Pod needs of one object.
type Reference struct {
	Mirror
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
			found.add(Reference{Mirror: Mirror{Kind: MirrorSecret, Namespace: pod.Namespace, Name: secret.Name}, Optional: true})
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
func (r *references) addObject(kind MirrorKind, namespace, name string, optional *bool, keys ...string) {
	ref := Reference{Mirror: Mirror{Kind: kind, Namespace: namespace, Name: name}, Optional: isOptional(optional)}
	if !ref.Optional {
		ref.Keys = keys
	}
	r.add(ref)
}

func (r *references) addContainer(namespace string, c *corev1.Container) {
	for _, from := range c.EnvFrom {
		if ref := from.ConfigMapRef; ref != nil {
			r.addObject(MirrorConfigMap, namespace, ref.Name, ref.Optional)
		}
		if ref := from.SecretRef; ref != nil {
			r.addObject(MirrorSecret, namespace, ref.Name, ref.Optional)
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			continue
		}
		if ref := e.ValueFrom.ConfigMapKeyRef; ref != nil {
			r.addObject(MirrorConfigMap, namespace, ref.Name, ref.Optional, ref.Key)
		}
		if ref := e.ValueFrom.SecretKeyRef; ref != nil {
			r.addObject(MirrorSecret, namespace, ref.Name, ref.Optional, ref.Key)
		}
	}
}

func (r *references) addVolume(pod *corev1.Pod, v *corev1.Volume, noTokens bool) {
	switch {
	case v.ConfigMap != nil:
		r.addObject(MirrorConfigMap, pod.Namespace, v.ConfigMap.Name, v.ConfigMap.Optional, itemKeys(v.ConfigMap.Items)...)
	case v.Secret != nil:
		r.addObject(MirrorSecret, pod.Namespace, v.Secret.SecretName, v.Secret.Optional, itemKeys(v.Secret.Items)...)
	case v.PersistentVolumeClaim != nil:
		r.addObject(MirrorClaim, pod.Namespace, v.PersistentVolumeClaim.ClaimName, nil)
	case v.Ephemeral != nil:
		r.addObject(MirrorClaim, pod.Namespace, ephemeralClaim(pod, v), nil)
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
		r.addObject(MirrorConfigMap, pod.Namespace, source.ConfigMap.Name, source.ConfigMap.Optional, itemKeys(source.ConfigMap.Items)...)
	case source.Secret != nil:
		r.addObject(MirrorSecret, pod.Namespace, source.Secret.Name, source.Secret.Optional, itemKeys(source.Secret.Items)...)
	case source.ServiceAccountToken != nil:
		r.add(Reference{Mirror: TokenMirror(pod), Tokens: []corev1.ServiceAccountTokenProjection{*source.ServiceAccountToken}})
	}
}

func itemKeys(items []corev1.KeyToPath) []string {
	var keys []string
	for _, item := range items {
		keys = append(keys, item.Key)
	}
	return keys
}

// TokenKey is the key of a token in the MirrorToken of its Pod. Tokens of the same audience and lifetime are one.
func TokenKey(token corev1.ServiceAccountTokenProjection) string {
	return "token-" + hash(token.Audience, strconv.FormatInt(TokenSeconds(token), 10))
}

// tokenSeconds is the lifetime of a token that names none: the API server's default.
const tokenSeconds = 3600

// TokenSeconds is the lifetime that a token asks for.
func TokenSeconds(token corev1.ServiceAccountTokenProjection) int64 {
	if token.ExpirationSeconds == nil {
		return tokenSeconds
	}
	return *token.ExpirationSeconds
}

// ownPullSecrets are names under which clusters of the vendor keep the credentials of its registry: the cloud has its own.
// Source: seed 2; CCE manual, "default-secret".
var ownPullSecrets = []string{"default-secret", "imagepull-secret"}

func (t *Translator) isOwnPullSecret(name string) bool {
	return name == t.config.PullSecret || slices.Contains(ownPullSecrets, name)
}
