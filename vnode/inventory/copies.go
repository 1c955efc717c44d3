package inventory

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

const (
	// maxSize is the size in bytes that all copies may have together. 10,000 Pods have about 30 MB. A cloud that lies
	// must not exhaust the memory of the virtual node.
	maxSize = 256 << 20
	// podSize, containerSize and objectSize are the sizes of a copy, a container's status and a reference without their
	// texts.
	podSize, containerSize, objectSize = 2048, 512, 64
	// maxAnnotation is the maximum length in bytes of an annotation that is kept.
	maxAnnotation = 512
)

// copied is what is kept of a cloud Pod, and the objects that it refers to.
type copied struct {
	pod    *cci.Pod
	refers []cci.Object
	size   int
	// use is what counts towards the limits of the namespace.
	use policy.CloudUse
}

// keptAnnotations are the annotations of cloud Pods that callers read. All others are dropped, because those of users
// can be large: add what a caller needs.
var keptAnnotations = []string{
	policy.CloudClusterKey, policy.CloudNodeAnnotation, policy.CloudNamespaceAnnotation, policy.CloudNameAnnotation,
	policy.CloudUIDAnnotation, policy.CloudSizeAnnotation, policy.FlavorAnnotation, cci.SizeAnnotation,
	sizes.InstanceTypeAnnotation, sizes.InstanceTypePreferenceAnnotation, cci.ExporterAnnotation,
	cci.ExporterPortAnnotation,
}

// newCopy returns a copy with only those fields that callers need: the inventory holds thousands of Pods.
func newCopy(pod *cci.Pod) copied {
	kept := &cci.Pod{
		TypeMeta: pod.TypeMeta, Status: cci.Bound(pod.Status), RefusedAddress: pod.RefusedAddress,
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
			CreationTimestamp: pod.CreationTimestamp, DeletionTimestamp: pod.DeletionTimestamp,
			DeletionGracePeriodSeconds: pod.DeletionGracePeriodSeconds, Annotations: map[string]string{},
		},
	}
	for _, key := range keptAnnotations {
		if value, ok := pod.Annotations[key]; ok && len(value) <= maxAnnotation {
			kept.Annotations[key] = strings.Clone(value)
		}
	}
	c := copied{pod: kept, refers: pod.Spec.Objects()}
	if !translate.IsTerminal(kept.Status.Phase) {
		c.use = policy.CloudUse{Pods: 1, Flavor: translate.BilledSize(kept)}
	}
	c.size = podSize + len(pod.Name) + len(pod.Namespace) + len(pod.UID) + len(pod.ResourceVersion)
	for _, value := range kept.Annotations {
		c.size += len(value)
	}
	for _, object := range c.refers {
		c.size += objectSize + len(object.Name)
	}
	for _, list := range [][]corev1.ContainerStatus{kept.Status.InitContainerStatuses, kept.Status.ContainerStatuses} {
		for i := range list {
			c.size += containerSize + textSize(&list[i])
		}
	}
	return c
}

// withoutTexts returns the copy without the messages, images and IDs of containers. The Pod is not changed.
func (c copied) withoutTexts() copied {
	pod := *c.pod
	strip := func(statuses []corev1.ContainerStatus) []corev1.ContainerStatus {
		var stripped []corev1.ContainerStatus
		for i := range statuses {
			status := *statuses[i].DeepCopy()
			for _, state := range []*corev1.ContainerState{&status.State, &status.LastTerminationState} {
				if state.Waiting != nil {
					state.Waiting.Message = ""
				}
				if state.Terminated != nil {
					state.Terminated.Message, state.Terminated.ContainerID = "", ""
				}
			}
			status.Image, status.ImageID, status.ContainerID = "", "", ""
			c.size -= textSize(&statuses[i]) - textSize(&status)
			stripped = append(stripped, status)
		}
		return stripped
	}
	pod.Status.InitContainerStatuses = strip(pod.Status.InitContainerStatuses)
	pod.Status.ContainerStatuses = strip(pod.Status.ContainerStatuses)
	c.pod = &pod
	return c
}

func textSize(s *corev1.ContainerStatus) int {
	size := len(s.Name) + len(s.Image) + len(s.ImageID) + len(s.ContainerID)
	for _, state := range []corev1.ContainerState{s.State, s.LastTerminationState} {
		if state.Waiting != nil {
			size += len(state.Waiting.Message)
		}
		if state.Terminated != nil {
			size += len(state.Terminated.Message) + len(state.Terminated.ContainerID)
		}
	}
	return size
}

// copies are the copies of all Pods. They are not safe for concurrent use.
type copies struct {
	byKey map[identity.Key]copied
	// used is the sum of the uses of each namespace.
	used map[string]policy.CloudUse
	size int
}

func newCopies() *copies {
	return &copies{byKey: map[identity.Key]copied{}, used: map[string]policy.CloudUse{}}
}

func (c *copies) get(key identity.Key) *cci.Pod { return c.byKey[key].pod }

// set adds a copy. Beyond half of maxSize it has no texts of containers: tenants write them, ended Pods keep them, and
// the Pods of all tenants are in one list.
func (c *copies) set(key identity.Key, pod copied) {
	c.remove(key)
	if c.size+pod.size > maxSize/2 {
		pod = pod.withoutTexts()
	}
	c.size += pod.size
	c.used[key.Namespace] = c.used[key.Namespace].Plus(pod.use)
	c.byKey[key] = pod
}

func (c *copies) remove(key identity.Key) {
	known, ok := c.byKey[key]
	if !ok {
		return
	}
	c.size -= known.size
	delete(c.byKey, key)
	left := c.used[key.Namespace].Minus(known.use)
	if c.used[key.Namespace] = left; left == (policy.CloudUse{}) {
		delete(c.used, key.Namespace)
	}
}

// check returns an error if the copies are too large.
func (c *copies) check() error {
	if c.size > maxSize {
		return fmt.Errorf("the cloud reports Pods of this node of more than %d MiB", maxSize>>20)
	}
	return nil
}
