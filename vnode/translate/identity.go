package translate

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
)

// Owner is a virtual node of a cluster: it owns the cloud Pods that it made.
type Owner struct {
	ClusterID string
	Node      string
}

// Selector is the label selector of the owner's cloud Pods. Whoever lists with it must check Owns nevertheless: a service that
// ignores the selector must not make us delete other people's Pods.
func (o Owner) Selector() string { return policy.CloudOwnerLabel + "=" + o.hash() }

// hash is a label's value: node names may be too long for one.
func (o Owner) hash() string { return hash(o.ClusterID, o.Node) }

// Key is one Pod of the cluster for as long as it exists. A Pod that is made again under its old name has another Key.
type Key struct {
	Namespace string
	Name      string
	UID       types.UID
}

// String is for logs.
func (k Key) String() string { return k.Namespace + "/" + k.Name + "/" + string(k.UID) }

// Owns tells whether a cloud Pod is one of the owner's, and which Pod it stands for.
func (o Owner) Owns(pod *cci.Pod) (Key, bool) {
	key, owner, ok := Identity(pod)
	return key, ok && owner == o
}

// Identity reads from a cloud Pod which Pod it stands for, and whose it is; false where it is none of ours.
func Identity(pod *cci.Pod) (Key, Owner, bool) {
	a := pod.Annotations
	key := Key{a[policy.CloudNamespaceAnnotation], a[policy.CloudNameAnnotation], types.UID(a[policy.CloudUIDAnnotation])}
	owner := Owner{ClusterID: a[policy.CloudClusterKey], Node: a[policy.CloudNodeAnnotation]}
	return key, owner, key.Namespace != "" && key.Name != "" && key.UID != "" && owner.ClusterID != "" && owner.Node != ""
}

// ClusterSelector is the label selector of all cloud Pods of a cluster. Whoever lists with it must check Identity nevertheless.
func ClusterSelector(clusterID string) string { return policy.CloudClusterKey + "=" + clusterID }

// longestName is what a DNS label may have: the strictest rule that a Pod's name may meet on its way.
const longestName = 63

// CloudName is the name of the cloud Pod of a Pod, always the same one: that is why a Pod is never made twice. It begins with the
// words that people search for and ends with a hash of all that tells Pods apart.
func CloudName(key Key) string {
	suffix := "-" + hash(key.Namespace, key.Name, string(key.UID))
	words := strings.ReplaceAll(key.Namespace+"-"+key.Name, ".", "-")
	words = words[:min(len(words), longestName-len(suffix))]
	return strings.TrimRight(words, "-") + suffix
}

// hash is 16 characters of all parts; a separator that no part can hold keeps a-b/c and a/b-c apart.
func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:8])
}
