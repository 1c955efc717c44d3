package identity

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
)

// MirrorKind is the kind of object that a mirror is a copy of.
type MirrorKind string

const (
	// MirrorConfigMap and MirrorSecret are copies of the object of that name.
	MirrorConfigMap MirrorKind = "ConfigMap"
	MirrorSecret    MirrorKind = "Secret"
	// MirrorToken is a Secret with the service account tokens of one Pod. No object of the cluster holds them.
	MirrorToken MirrorKind = "Token"
	// MirrorClaim is a PersistentVolumeClaim, together with a PersistentVolume of the same name in the cloud.
	MirrorClaim MirrorKind = "Claim"
)

// Mirror names an object of the cluster that has, or needs, a copy in the cloud namespace.
type Mirror struct {
	Kind MirrorKind
	// Namespace and Name are those of the object. For a MirrorToken they are those of the Pod.
	Namespace, Name string
	// UID is the UID of the Pod. Only a MirrorToken has it.
	UID types.UID
	// Short: the copy has the short name that earlier versions gave it. It is a copy of its own: only cloud Pods that
	// such a version created refer to it, and it is kept up to date until they are gone. New copies have long names.
	Short bool
}

// String returns the Mirror for logs.
func (m Mirror) String() string { return string(m.Kind) + " " + m.Namespace + "/" + m.Name }

// TokenMirror returns the mirror of a Pod's tokens.
func TokenMirror(pod *corev1.Pod) Mirror {
	return Mirror{Kind: MirrorToken, Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}
}

// MirrorName returns the name of a mirror in the cloud, which is a function of the owner and the mirror. All
// namespaces of a cluster, and several clusters, can share one cloud namespace. Each virtual node has its own
// mirrors, so that no two of them write or delete the same object.
func (o Owner) MirrorName(m Mirror) string {
	length := longHash
	if m.Short {
		length = shortHash
	}
	return readableName(m.Namespace, m.Name,
		hash(length, o.ClusterID, o.Node, string(m.Kind), m.Namespace, m.Name, string(m.UID)))
}

// MirrorMeta returns the metadata of a mirror. source is the UID of the object that is copied.
func (o Owner) MirrorMeta(m Mirror, source types.UID) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:   o.MirrorName(m),
		Labels: map[string]string{policy.CloudClusterKey: o.ClusterID, policy.CloudOwnerLabel: o.hash()},
		Annotations: map[string]string{
			policy.CloudClusterKey:                o.ClusterID,
			policy.CloudNodeAnnotation:            o.Node,
			policy.CloudSourceKindAnnotation:      string(m.Kind),
			policy.CloudSourceNamespaceAnnotation: m.Namespace,
			policy.CloudSourceNameAnnotation:      m.Name,
			policy.CloudSourceUIDAnnotation:       string(source),
		},
	}
}

// OwnsMirror reports whether an object of the cloud is one of the owner's mirrors, and which.
func (o Owner) OwnsMirror(object *metav1.ObjectMeta) (Mirror, bool) {
	m, owner, ok := OfMirror(object)
	return m, ok && owner == o
}

// OfMirror reads from an object of the cloud what it is a copy of, and its owner. It returns false if the object is
// not a mirror.
func OfMirror(object *metav1.ObjectMeta) (Mirror, Owner, bool) {
	a := object.Annotations
	m := Mirror{
		Kind:      MirrorKind(a[policy.CloudSourceKindAnnotation]),
		Namespace: a[policy.CloudSourceNamespaceAnnotation],
		Name:      a[policy.CloudSourceNameAnnotation],
	}
	if m.Kind == MirrorToken {
		m.UID = types.UID(a[policy.CloudSourceUIDAnnotation])
	}
	owner := ownerOf(a)
	if object.Name != owner.MirrorName(m) {
		m.Short = true
	}
	return m, owner, owner.isComplete() && object.Name == owner.MirrorName(m)
}

// SnapshotMeta returns the metadata of a snapshot of one image. The name is the same for all virtual nodes of the
// cluster, so that no two of them make a snapshot of the same image.
func (o Owner) SnapshotMeta(image string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:        o.snapshotName(image),
		Labels:      map[string]string{policy.CloudClusterKey: o.ClusterID, policy.CloudOwnerLabel: o.hash()},
		Annotations: map[string]string{policy.CloudClusterKey: o.ClusterID, policy.CloudNodeAnnotation: o.Node},
	}
}

func (o Owner) snapshotName(image string) string {
	return "spillway-image-" + hash(longHash, o.ClusterID, "image", image)
}

// OfSnapshot reads from a snapshot its owner. It returns false if Spillway did not make it. A snapshot of Spillway has
// one image.
func OfSnapshot(snapshot *cci.ImageSnapshot) (Owner, bool) {
	owner := ownerOf(snapshot.Annotations)
	images := snapshot.Spec.Images
	return owner, owner.isComplete() && len(images) == 1 && snapshot.Name == owner.snapshotName(images[0].Image)
}

// TokenKey returns the key of a token in the MirrorToken of its Pod. Tokens with the same audience and lifetime share
// a key. Who finds two audiences of one hash mixes up only the tokens of its own Pod.
func TokenKey(token corev1.ServiceAccountTokenProjection) string {
	return "token-" + hash(shortHash, token.Audience, strconv.FormatInt(TokenSeconds(token), 10))
}

// KubeconfigKey is the key in the MirrorToken of a Pod of the kubeconfig with which its sidecar reads Services.
const KubeconfigKey = "kubeconfig"

// defaultTokenSeconds is the API server's default lifetime of a token that specifies none.
const defaultTokenSeconds = 3600

// TokenSeconds returns the lifetime that a token requests.
func TokenSeconds(token corev1.ServiceAccountTokenProjection) int64 {
	if token.ExpirationSeconds == nil {
		return defaultTokenSeconds
	}
	return *token.ExpirationSeconds
}
