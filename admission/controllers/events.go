package controllers

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
	component = "spillway-admission"
	// refreshAfter is well within the hour for which an API server keeps an Event by default: what holds for longer stays said.
	refreshAfter = 20 * time.Minute
	// longestMessage is the limit of the API for the newer kind of Events.
	longestMessage = 1024
)

// event is what a Pod's Event says.
type event struct {
	kind    string
	reason  policy.Reason
	message string
}

// events tells Pods each thing once: the name of an Event is made from the Pod and what is said, so neither a restart nor
// another leader says it twice.
type events struct {
	client kubernetes.Interface
	now    func() time.Time

	lock sync.Mutex
	told map[types.UID]map[string]time.Time
}

func newEvents(client kubernetes.Interface, now func() time.Time) *events {
	return &events{client: client, now: now, told: map[types.UID]map[string]time.Time{}}
}

// tell says it unless it was said lately. told is false where it was. It may be called again.
func (e *events) tell(ctx context.Context, pod *corev1.Pod, ev event) (told bool, err error) {
	name, now := eventName(pod, ev), e.now()
	if e.isFresh(pod.UID, name, now) {
		return false, nil
	}
	client := e.client.CoreV1().Events(pod.Namespace)
	_, err = client.Create(ctx, compose(name, pod, ev, now), metav1.CreateOptions{})
	told = err == nil
	if apierrors.IsAlreadyExists(err) {
		seen := fmt.Sprintf(`{"lastTimestamp":%q}`, now.UTC().Format(time.RFC3339))
		_, err = client.Patch(ctx, name, types.MergePatchType, []byte(seen), metav1.PatchOptions{})
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return false, nil // The Pod is about to go, and nothing new is taken on there.
	}
	if err != nil {
		return false, fmt.Errorf("recording event %s of Pod %s/%s: %w", ev.reason, pod.Namespace, pod.Name, err)
	}
	e.remember(pod.UID, name, now)
	return told, nil
}

// forget drops what is remembered of a Pod of which nothing is to be said any more.
func (e *events) forget(uid types.UID) {
	e.lock.Lock()
	defer e.lock.Unlock()
	delete(e.told, uid)
}

func (e *events) isFresh(uid types.UID, name string, now time.Time) bool {
	e.lock.Lock()
	defer e.lock.Unlock()
	at, ok := e.told[uid][name]
	return ok && now.Sub(at) < refreshAfter
}

func (e *events) remember(uid types.UID, name string, now time.Time) {
	e.lock.Lock()
	defer e.lock.Unlock()
	if e.told[uid] == nil {
		e.told[uid] = map[string]time.Time{}
	}
	e.told[uid][name] = now
}

// eventName is unique for the Pod and what is said. Pod names leave room: an object's name may have 253 characters, so long ones
// are cut, at no dot or dash.
func eventName(pod *corev1.Pod, ev event) string {
	sum := sha256.Sum256([]byte(string(pod.UID) + "\n" + string(ev.reason) + "\n" + ev.message))
	return strings.TrimRight(pod.Name[:min(len(pod.Name), 230)], ".-") + "." + hex.EncodeToString(sum[:8])
}

func compose(name string, pod *corev1.Pod, ev event, now time.Time) *corev1.Event {
	message := ev.message
	if len(message) > longestMessage {
		message = strings.ToValidUTF8(message[:longestMessage-3], "") + "..."
	}
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: pod.Namespace},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
		},
		Type: ev.kind, Reason: string(ev.reason), Message: message, Count: 1,
		FirstTimestamp: metav1.NewTime(now), LastTimestamp: metav1.NewTime(now),
		Source: corev1.EventSource{Component: component}, ReportingController: component,
	}
}
