package podlife

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// maxEvents bounds the stored Events. The real service deletes them after a time that is not documented.
const maxEvents = 20000

// recordEvent stores an Event about a Pod. An Event that exists already is only counted again.
func (c *Controller) recordEvent(tx store.Tx, pod *objects.Pod, kind, reason, message string) {
	name := fmt.Sprintf("%s.%s", pod.Name, eventHash(pod, reason, message))
	now := metav1.NewTime(c.now())
	k := types.NamespacedName{Namespace: pod.Namespace, Name: name}
	if old, ok := tx.Get(objects.Events, k).(*objects.Event); ok {
		next := old.CopyObject().(*objects.Event)
		next.Count++
		next.LastTimestamp = now
		c.put(tx, objects.Events, next)
		return
	}
	event := &objects.Event{}
	event.SetType(tx.Generation().APIVersion(objects.Events), objects.Events.Kind)
	event.Name, event.Namespace = name, pod.Namespace
	objects.Stamp(event, c.now())
	objects.SetAnnotation(&event.ObjectMeta, objects.AnnotationTenant, pod.Annotations[objects.AnnotationTenant])
	event.InvolvedObject = corev1.ObjectReference{
		APIVersion: tx.Generation().APIVersion(objects.Pods), Kind: objects.Pods.Kind,
		Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
	}
	event.Type, event.Reason, event.Message = kind, reason, message
	event.FirstTimestamp, event.LastTimestamp, event.Count = now, now, 1
	event.Source.Component, event.ReportingController = "cci", "cci"
	c.put(tx, objects.Events, event)
	c.trimEvents(tx, k)
}

// eventHash returns the part of an Event's name that is the same for the same Event.
func eventHash(pod *objects.Pod, reason, message string) string {
	sum := sha256.Sum256([]byte(string(pod.UID) + "\x00" + reason + "\x00" + message))
	return hex.EncodeToString(sum[:8])
}

// trimEvents counts a new Event, and removes the oldest if there are too many.
func (c *Controller) trimEvents(tx store.Tx, added types.NamespacedName) {
	c.eventOrder = append(c.eventOrder, added)
	for len(c.eventOrder) > maxEvents {
		if old := tx.Get(objects.Events, c.eventOrder[0]); old != nil {
			c.remove(tx, objects.Events, old.CopyObject())
		}
		c.eventOrder = c.eventOrder[1:]
	}
}
