package policy

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Revision is the set of Pods that share a quota: those of a ReplicaSet, of a controller revision of a StatefulSet, or
// of a Job, and for other controllers those of one of their templates. It is never a whole Deployment: during a rolling
// update the old Pods would hold all slots, and the update would end with no local replica.
type Revision struct {
	// Namespace is that of the Pods. A Pod can name any UID as its owner: with the UID of an owner in another namespace
	// it must not take that owner's slots.
	Namespace string
	// Owner is the UID of the controller, or of the Pod itself if it has no controller.
	Owner types.UID
	// Hash distinguishes the revisions of a controller that keeps its UID during an update.
	Hash string
	// Template distinguishes the templates of a controller that has several, such as the head and the workers of a Ray
	// cluster. It is empty for the controllers of Kubernetes, which have one.
	Template string
}

// String returns a key for indexes, which is different for each revision.
func (r Revision) String() string {
	return strings.Join([]string{r.Namespace, string(r.Owner), r.Hash, r.Template}, "/")
}

// RevisionOf returns the revision that a Pod belongs to. It reads metadata only. A Pod that its ReplicaSet has released
// for the way home still counts in its revision.
func RevisionOf(pod *corev1.Pod) Revision {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		if moving, ok := MovingHomeOf(pod); ok {
			return Revision{Namespace: pod.Namespace, Owner: moving.ReplicaSetUID}
		}
		return Revision{Namespace: pod.Namespace, Owner: pod.UID}
	}
	revision := Revision{
		Namespace: pod.Namespace, Owner: owner.UID, Hash: pod.Labels[appsv1.ControllerRevisionHashLabelKey],
	}
	if !hasOneTemplate(owner) {
		revision.Template = templateOf(pod)
	}
	return revision
}

// hasOneTemplate reports whether all Pods of a controller have the same template. Others have kinds of the same name:
// a Job of Volcano has several templates.
func hasOneTemplate(owner *metav1.OwnerReference) bool {
	group, _, ok := strings.Cut(owner.APIVersion, "/")
	if !ok {
		group = "" // "v1"
	}
	return slices.Contains(oneTemplate[group], owner.Kind)
}

// oneTemplate are the kinds of Kubernetes whose controllers create Pods, by group.
var oneTemplate = map[string][]string{
	"":      {"ReplicationController"},
	"apps":  {"ReplicaSet", "StatefulSet", "DaemonSet"},
	"batch": {"Job"},
}

// templateOf returns what the names of all Pods of a template have in common: the name without its last part, which is
// an index or random, and without the numbers before that. Controllers name Pods by the template, since the names of
// the Pods of several templates would collide otherwise: TYPE-INDEX, or generateName. Nothing else holds for all Pods
// of a template and for no other. Labels, variables, arguments and images may differ from Pod to Pod, and webhooks and
// autoscalers change them while a workload runs. Names never change.
//
// If in doubt, two templates are one: their Pods share a quota. If one template became two, both would have the whole
// quota.
func templateOf(pod *corev1.Pod) string {
	name := pod.Name
	if pod.GenerateName != "" {
		name = strings.TrimRight(pod.GenerateName, "-")
	} else {
		name = withoutUUID(name)
		name = name[:max(strings.LastIndexByte(name, '-'), 0)]
	}
	for {
		cut := max(strings.LastIndexByte(name, '-'), 0)
		if last := strings.TrimPrefix(name[cut:], "-"); last == "" || strings.Trim(last, "0123456789") != "" {
			return name
		}
		name = name[:cut]
	}
}

// withoutUUID shortens a UUID at the end of a name to its first part. It has five parts, separated by dashes.
func withoutUUID(name string) string {
	const length, first = len("00000000-0000-0000-0000-000000000000"), len("00000000")
	at := len(name) - length
	if at < 0 {
		return name
	}
	for i, c := range name[at:] {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f'; dash != (c == '-') || !dash && !hex {
			return name
		}
	}
	return name[:at+first]
}
