// Package identity names the Pods of the cluster and their objects in the cloud. It writes and reads the labels and
// annotations that say which cluster and which virtual node an object of the cloud belongs to, and what it stands
// for. It does not access the cloud.
package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
)

// Owner is a virtual node of a cluster. It owns the objects that it creates in the cloud.
type Owner struct {
	ClusterID string
	Node      string
}

// Selector returns the label selector of the owner's cloud Pods. A caller that lists with it must still check Owns:
// if the service ignores the selector, the caller must not delete Pods of others.
func (o Owner) Selector() string { return policy.CloudOwnerLabel + "=" + o.hash() }

// hash returns the value of the owner label. A node name can be too long for a label value.
func (o Owner) hash() string { return hash(shortHash, o.ClusterID, o.Node) }

// Key identifies one Pod of the cluster for its whole life. A Pod that is created again with the same name has
// another Key.
type Key struct {
	Namespace string
	Name      string
	UID       types.UID
}

// String returns the Key for logs.
func (k Key) String() string { return k.Namespace + "/" + k.Name + "/" + string(k.UID) }

// KeyOf returns the Key of a Pod of the cluster.
func KeyOf(pod *corev1.Pod) Key { return Key{pod.Namespace, pod.Name, pod.UID} }

// Mark writes the owner and the Pod with this key onto the metadata of a cloud Pod. OfPod reads them back.
func (o Owner) Mark(meta *metav1.ObjectMeta, key Key) {
	metav1.SetMetaDataLabel(meta, policy.CloudClusterKey, o.ClusterID)
	metav1.SetMetaDataLabel(meta, policy.CloudOwnerLabel, o.hash())
	for name, value := range map[string]string{
		policy.CloudClusterKey:          o.ClusterID,
		policy.CloudNodeAnnotation:      o.Node,
		policy.CloudNamespaceAnnotation: key.Namespace,
		policy.CloudNameAnnotation:      key.Name,
		policy.CloudUIDAnnotation:       string(key.UID),
	} {
		metav1.SetMetaDataAnnotation(meta, name, value)
	}
}

// ProbeName returns the name of the owner's probe, a cloud Pod that stands for no Pod of the cluster (package soldout).
// It is fixed, so that there is never more than one.
func (o Owner) ProbeName() string {
	return "spillway-probe-" + hash(shortHash, o.ClusterID, o.Node, "probe")
}

// MarkProbe turns the metadata of a cloud Pod into that of the owner's probe. OfPod and Owns do not find it, so it
// never counts as the Pod of a user.
func (o Owner) MarkProbe(meta *metav1.ObjectMeta) {
	o.Mark(meta, Key{})
	meta.Name = o.ProbeName()
	for _, key := range []string{
		policy.CloudNamespaceAnnotation, policy.CloudNameAnnotation, policy.CloudUIDAnnotation,
	} {
		delete(meta.Annotations, key)
	}
}

// OfProbe reads from a cloud Pod whose probe it is. It returns false for other Pods.
func OfProbe(pod *cci.Pod) (Owner, bool) {
	owner := ownerOf(pod.Annotations)
	return owner, owner.isComplete() && pod.Name == owner.ProbeName()
}

// Owns reports whether a cloud Pod belongs to the owner, and which Pod of the cluster it stands for.
func (o Owner) Owns(pod *cci.Pod) (Key, bool) {
	key, owner, ok := OfPod(pod)
	return key, ok && owner == o
}

// OfPod reads from a cloud Pod which Pod of the cluster it stands for, and its owner. It returns false if Spillway
// did not create it.
func OfPod(pod *cci.Pod) (Key, Owner, bool) {
	a := pod.Annotations
	key := Key{
		Namespace: a[policy.CloudNamespaceAnnotation],
		Name:      a[policy.CloudNameAnnotation],
		UID:       types.UID(a[policy.CloudUIDAnnotation]),
	}
	owner := ownerOf(a)
	return key, owner, key.Namespace != "" && key.Name != "" && key.UID != "" && owner.isComplete()
}

func ownerOf(annotations map[string]string) Owner {
	return Owner{ClusterID: annotations[policy.CloudClusterKey], Node: annotations[policy.CloudNodeAnnotation]}
}

func (o Owner) isComplete() bool { return o.ClusterID != "" && o.Node != "" }

// ClusterSelector returns the label selector of all cloud Pods of a cluster. A caller that lists with it must still
// check OfPod.
func ClusterSelector(clusterID string) string { return policy.CloudClusterKey + "=" + clusterID }

// CloudName returns the name of the cloud Pod of a Pod. It is a function of the key, so that no Pod is ever created
// twice. It begins with the namespace and the name, for people who search, and ends with a hash of the whole key. The
// short hash is enough, because the API server chooses the UID at random: who wants a Pod with the name of a given one
// must create 2^64 Pods. Two Pods of one name would not mix either, because their annotations differ.
func CloudName(key Key) string {
	return readableName(key.Namespace, key.Name, hash(shortHash, key.Namespace, key.Name, string(key.UID)))
}

// readableName returns namespace-name-suffix, shortened to a DNS label: the strictest rule that applies to names in
// the cloud.
func readableName(namespace, name, suffix string) string {
	prefix := strings.ReplaceAll(namespace+"-"+name, ".", "-")
	prefix = prefix[:min(len(prefix), validation.DNS1123LabelMaxLength-len(suffix)-1)]
	return strings.TrimRight(prefix, "-") + "-" + suffix
}

// Lengths of a hash in bytes. The long one is for names that tenants can choose: finding two such names of one hash
// takes 2^64 attempts without any request, and 2^32 with the short one.
const (
	shortHash = 8
	longHash  = 16
)

// hash returns two characters for each byte of length. They depend on all parts. The separator cannot occur in a part,
// so a-b/c and a/b-c differ.
func hash(length int, parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:length])
}
