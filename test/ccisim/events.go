package ccisim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxEvents bounds the events that are kept; the real service forgets them after a time that is not documented.
const maxEvents = 20000

// eventStrategy: events are read only.
type eventStrategy struct{ plain }

func (eventStrategy) empty() object        { return &Event{} }
func (eventStrategy) createFields() fields { return nil }
func (eventStrategy) updateFields() fields { return nil }

// eventHash makes the name of an event from what makes it the same one.
func eventHash(pod *Pod, reason, message string) string {
	sum := sha256.Sum256([]byte(string(pod.UID) + "\x00" + reason + "\x00" + message))
	return hex.EncodeToString(sum[:8])
}

// recordEvent stores an event about a Pod; the same one again only counts up. Holds mu.
func (s *Sim) recordEvent(pod *Pod, kind, reason, message string) {
	name := fmt.Sprintf("%s.%s", pod.Name, eventHash(pod, reason, message))
	now := metav1.NewTime(s.now())
	if old, ok := s.store.get(podEvents, key{pod.Namespace, name}).(*Event); ok {
		next := old.copyObject().(*Event)
		next.Count++
		next.LastTimestamp = now
		s.put(podEvents, next)
		return
	}
	event := &Event{}
	event.setType(s.apiVersion(podEvents), podEvents.kind)
	event.Name, event.Namespace = name, pod.Namespace
	s.stamp(event)
	setAnnotation(&event.ObjectMeta, annotationTenant, pod.Annotations[annotationTenant])
	event.InvolvedObject = corev1.ObjectReference{
		APIVersion: s.apiVersion(pods), Kind: pods.kind, Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
	}
	event.Type, event.Reason, event.Message = kind, reason, message
	event.FirstTimestamp, event.LastTimestamp, event.Count = now, now, 1
	event.Source.Component, event.ReportingController = "cci", "cci"
	s.put(podEvents, event)
	s.trimEvents(keyOf(event))
}

// trimEvents counts a new event, and drops the oldest when there are too many. Holds mu.
func (s *Sim) trimEvents(added key) {
	s.eventOrder = append(s.eventOrder, added)
	for len(s.eventOrder) > maxEvents {
		if old := s.store.get(podEvents, s.eventOrder[0]); old != nil {
			s.remove(podEvents, old.copyObject())
		}
		s.eventOrder = s.eventOrder[1:]
	}
}
