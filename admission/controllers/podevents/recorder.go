// Package podevents records Events about Pods. It records each Event once, even if the program restarts or another
// process becomes the leader, and keeps it from expiring while it holds.
package podevents

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/spillway-k8s/spillway/policy"
)

const (
	// component is the reporting component of the Events.
	component = "spillway-admission"
	// refreshInterval is well within the hour for which an API server keeps an Event by default, so an Event that holds
	// for longer does not expire.
	refreshInterval = 20 * time.Minute
	// maxMessage is the limit of the events.k8s.io API for the length of a message.
	maxMessage = 1024
	// maxRemembered is how many Events are remembered for one Pod. Users can change a key of a Pod, and with it the
	// message, without end. An Event that is forgotten is refreshed sooner.
	maxRemembered = 16
	// maxPodName limits the part of the name of an Event that comes from the Pod. Names have at most 253 characters.
	maxPodName = 230
)

// Event is the content of an Event about a Pod.
type Event struct {
	// Type is corev1.EventTypeNormal or corev1.EventTypeWarning.
	Type    string
	Reason  policy.Reason
	Message string
}

// Of returns the Event with a message.
func Of(kind string, message policy.Message) Event {
	return Event{kind, message.Code, message.Sentence}
}

// Recorder records Events. The name of an Event is derived from the Pod and the content, so every process derives the
// same name for the same Event.
type Recorder struct {
	client kubernetes.Interface
	now    func() time.Time

	lock sync.Mutex
	// recorded holds when each Event was last written, by the UID of the Pod and the name of the Event.
	recorded map[types.UID]map[string]time.Time
}

// NewRecorder returns a Recorder that uses the clock now.
func NewRecorder(client kubernetes.Interface, now func() time.Time) *Recorder {
	return &Recorder{client: client, now: now, recorded: map[types.UID]map[string]time.Time{}}
}

// Record creates the Event. If the Event exists, Record refreshes its time stamp, at most once in refreshInterval.
// created is false then. Record may be called again with the same Event.
func (r *Recorder) Record(ctx context.Context, pod *corev1.Pod, event Event) (created bool, err error) {
	name, now := eventName(pod, event), r.now()
	if r.isFresh(pod.UID, name, now) {
		return false, nil
	}
	client := r.client.CoreV1().Events(pod.Namespace)
	_, err = client.Create(ctx, compose(name, pod, event, now), metav1.CreateOptions{})
	created = err == nil
	if apierrors.IsAlreadyExists(err) {
		refresh := fmt.Sprintf(`{"lastTimestamp":%q}`, now.UTC().Format(time.RFC3339))
		_, err = client.Patch(ctx, name, types.MergePatchType, []byte(refresh), metav1.PatchOptions{})
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return false, nil // The namespace accepts no new objects, and the Pod is about to be deleted.
	}
	if err != nil {
		return false, fmt.Errorf("recording event %s of Pod %s/%s: %w", event.Reason, pod.Namespace, pod.Name, err)
	}
	r.remember(pod.UID, name, now)
	return created, nil
}

// Forget frees the memory for a Pod about which no Event holds any longer.
func (r *Recorder) Forget(uid types.UID) {
	r.lock.Lock()
	defer r.lock.Unlock()
	delete(r.recorded, uid)
}

func (r *Recorder) isFresh(uid types.UID, name string, now time.Time) bool {
	r.lock.Lock()
	defer r.lock.Unlock()
	at, ok := r.recorded[uid][name]
	return ok && now.Sub(at) < refreshInterval
}

func (r *Recorder) remember(uid types.UID, name string, now time.Time) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.recorded[uid] == nil {
		r.recorded[uid] = map[string]time.Time{}
	}
	r.recorded[uid][name] = now
	if known := r.recorded[uid]; len(known) > maxRemembered {
		oldest := name
		for other, at := range known {
			if at.Before(known[oldest]) {
				oldest = other
			}
		}
		delete(known, oldest)
	}
}

// eventName is unique for the Pod and the content of the Event. It cuts long names of Pods, and never ends the cut name
// with a dot or a dash.
func eventName(pod *corev1.Pod, event Event) string {
	sum := sha256.Sum256([]byte(string(pod.UID) + "\n" + string(event.Reason) + "\n" + event.Message))
	return strings.TrimRight(pod.Name[:min(len(pod.Name), maxPodName)], ".-") + "." + hex.EncodeToString(sum[:8])
}

func compose(name string, pod *corev1.Pod, event Event, now time.Time) *corev1.Event {
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: pod.Namespace},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Pod",
			Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
		},
		Type: event.Type, Reason: string(event.Reason), Message: policy.Clip(event.Message, maxMessage), Count: 1,
		FirstTimestamp: metav1.NewTime(now), LastTimestamp: metav1.NewTime(now),
		Source: corev1.EventSource{Component: component}, ReportingController: component,
	}
}
