package dashboard

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/cli/nodes"
	"github.com/spillway-k8s/spillway/cli/status"
	"github.com/spillway-k8s/spillway/internal/explain"
	"github.com/spillway-k8s/spillway/policy"
)

// Decision is what was decided about an object, in a sentence.
type Decision struct {
	At time.Time `json:"at"`
	// Kind, Namespace and Name are those of the object. A Node has no namespace.
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// Workload is the workload of a Pod, empty for other objects and Pods that are gone.
	Workload string `json:"workload,omitempty"`
	Reason   string `json:"reason"`
	Text     string `json:"text"`
	// Place is where a Pod is, empty for Events.
	Place   explain.Place `json:"place,omitempty"`
	Warning bool          `json:"warning,omitempty"`
}

// maxText is how many bytes a text has at most. Tenants write some of them.
const maxText = 500

// decisions returns the newest decisions: Events of Spillway, and where the scheduler has put Pods with a key of
// Spillway, or why it has not.
func decisions(in status.Input, events []*corev1.Event) []Decision {
	virtual := nodes.Names(in.Nodes)
	var all []Decision
	pods := map[[2]string]*corev1.Pod{}
	for _, pod := range in.Pods {
		pods[[2]string{pod.Namespace, pod.Name}] = pod
		if d, ok := decisionOf(pod, virtual.Has(pod.Spec.NodeName)); ok {
			all = append(all, d)
		}
	}
	for _, event := range events {
		all = append(all, decisionOfEvent(event))
	}
	slices.SortFunc(all, func(a, b Decision) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Text, b.Text))
	})
	all = all[:min(maxDecisions, len(all))]
	for i := range all {
		d := &all[i]
		d.Text = explain.Printable(policy.Clip(d.Text, maxText))
		if pod := pods[[2]string{d.Namespace, d.Name}]; pod != nil && d.Kind == "Pod" {
			d.Workload = in.Workload(pod)
		}
	}
	return all
}

// decisionOf returns what the scheduler has decided about a Pod. ok is false for Pods that Spillway has nothing to do
// with, and for those that it has not tried.
func decisionOf(pod *corev1.Pod, inCloud bool) (d Decision, ok bool) {
	scheduled := policy.PodCondition(pod, corev1.PodScheduled)
	if scheduled == nil || policy.HasEnded(pod) || !inCloud && !policy.HasPlacementKeys(pod) {
		return Decision{}, false
	}
	d = Decision{At: scheduled.LastTransitionTime.UTC(), Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name}
	switch node := pod.Spec.NodeName; {
	case node == "":
		d.Place, d.Reason, d.Text = explain.Waiting, scheduled.Reason, "It waits: "+scheduled.Message
	case inCloud:
		d.Place, d.Reason, d.Text = explain.Cloud, "Scheduled", "It was bound to virtual node "+node+"."
	default:
		d.Place, d.Reason, d.Text = explain.Local, "Scheduled", "It was bound to local node "+node+"."
	}
	return d, true
}

func decisionOfEvent(event *corev1.Event) Decision {
	object := &event.InvolvedObject
	at := event.LastTimestamp.Time
	for _, other := range []time.Time{event.EventTime.Time, event.CreationTimestamp.Time} {
		if at.IsZero() {
			at = other
		}
	}
	return Decision{
		At: at.UTC(), Kind: object.Kind, Namespace: object.Namespace, Name: object.Name, Reason: event.Reason,
		Text: event.Message, Warning: event.Type == corev1.EventTypeWarning,
	}
}
