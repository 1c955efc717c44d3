// Package drainback asks the extender to move Pods from the cloud to local nodes, and follows what becomes of them. It
// moves no Pod itself: it writes an annotation, and the extender decides by the rules of the way home.
package drainback

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/spillway-k8s/spillway/internal/explain"
	"github.com/spillway-k8s/spillway/policy"
)

// Candidate is a Pod in the cloud.
type Candidate struct {
	Pod *corev1.Pod
	// Never says why it never returns. It is empty if it may.
	Never string
}

// name returns how users name the Pod.
func name(pod *corev1.Pod) string { return pod.Namespace + "/" + pod.Name }

// Drain asks and follows. All fields are required.
type Drain struct {
	Client kubernetes.Interface
	Out    io.Writer
	Now    func() time.Time
	// Period is how often the cluster is read.
	Period time.Duration
	// Settle is for how long each Pod that is left must have had a reason why it stays. The extender tries again, so a
	// reason of a moment is none.
	Settle time.Duration
	// TakeBack is the command that takes the requests back, for people.
	TakeBack string
}

// ErrStay means that Pods are still in the cloud.
var ErrStay = errors.New("Pods stay in the cloud")

// Preview prints what Ask would do. It changes nothing.
func (d Drain) Preview(candidates []Candidate) {
	for _, c := range sorted(candidates) {
		if c.Never != "" {
			d.printf("%s stays: %s", name(c.Pod), c.Never)
		} else {
			d.printf("%s would be asked to return", name(c.Pod))
		}
	}
	if len(candidates) == 0 {
		d.printf("No Pod is in the cloud.")
	}
}

// Cancel takes the requests of Pods back. A move that has begun is not stopped.
func (d Drain) Cancel(ctx context.Context, candidates []Candidate) error {
	count := 0
	for _, c := range sorted(candidates) {
		if _, ok := c.Pod.Annotations[policy.DrainBackAnnotation]; !ok {
			continue
		}
		if err := d.annotate(ctx, c.Pod, nil); err != nil {
			return err
		}
		count++
	}
	d.printf("Requests taken back: %d.", count)
	return nil
}

// Run asks that Pods return, and blocks until none of them is left in the cloud or each has a reason why it stays. It
// returns an error that is ErrStay if some are left, also when ctx ends: the requests stay, for a day.
func (d Drain) Run(ctx context.Context, candidates []Candidate) error {
	asked := map[types.UID]*corev1.Pod{}
	stays := 0
	for _, c := range sorted(candidates) {
		if c.Never != "" {
			d.printf("%s stays: %s", name(c.Pod), c.Never)
			stays++
			continue
		}
		if _, ok := explain.AskedToReturn(c.Pod, d.Now()); !ok {
			at := d.Now().UTC()
			if created := c.Pod.CreationTimestamp.UTC(); created.After(at) {
				at = created // The clock of this machine is behind: the request would be that of another Pod.
			}
			if err := d.annotate(ctx, c.Pod, new(at.Format(time.RFC3339))); err != nil {
				if len(asked) > 0 {
					d.printf("%s were asked before this error. To take the requests back:\n  %s", pods(len(asked)),
						d.TakeBack)
				}
				return err
			}
		}
		asked[c.Pod.UID] = c.Pod
	}
	if len(asked) == 0 && stays == 0 {
		d.printf("No Pod is in the cloud.")
		return nil
	}
	if len(asked) > 0 {
		d.printf("Asked to return: %s.", pods(len(asked)))
	}
	return d.follow(ctx, asked, stays)
}

// sorted returns candidates by namespace and name.
func sorted(candidates []Candidate) []Candidate {
	return slices.SortedFunc(slices.Values(candidates), func(a, b Candidate) int {
		return cmp.Or(strings.Compare(a.Pod.Namespace, b.Pod.Namespace), strings.Compare(a.Pod.Name, b.Pod.Name))
	})
}

// follow prints what becomes of the Pods.
func (d Drain) follow(ctx context.Context, left map[types.UID]*corev1.Pod, stays int) error {
	total := len(left)
	said := map[types.UID]state{}
	var settled time.Time // since when each Pod that is left has had the same reason
	for len(left) > 0 {
		now, err := d.read(ctx, left)
		if err != nil && ctx.Err() == nil {
			return err
		}
		changed := err == nil && d.report(left, now, said)
		waits := slices.ContainsFunc(slices.Collect(maps.Values(said)), func(s state) bool { return s.why == "" })
		switch {
		case changed || waits || len(said) < len(left) || settled.IsZero():
			settled = d.Now()
		case d.Now().Sub(settled) >= d.Settle:
			return d.end(left, total, stays, "")
		}
		if len(left) == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return d.end(left, total, stays, "No longer waiting. ")
		case <-time.After(d.Period):
		}
	}
	return d.end(left, total, stays, "")
}

// end says how it has ended.
func (d Drain) end(left map[types.UID]*corev1.Pod, total, stays int, because string) error {
	if total > 0 {
		d.printf("%s%d of %s have left the cloud.", because, total-len(left), pods(total))
	}
	if len(left) > 0 {
		d.printf("The others may still return: the requests have an effect for a day. To take them back:\n  %s",
			d.TakeBack)
	}
	if n := len(left) + stays; n > 0 {
		return fmt.Errorf("%w: %d", ErrStay, n)
	}
	return nil
}

// state is what is known of a Pod that was asked for.
type state struct {
	moving bool
	// why says why it stays; empty if that is not known.
	why string
}

func (s state) String() string {
	switch {
	case s.moving:
		return "returns: its successor must be ready on a local node first"
	case s.why != "":
		return "stays for now: " + s.why
	default:
		return "waits for its turn"
	}
}

// report prints what has changed, and removes Pods that are gone from left. It reports whether anything has changed.
func (d Drain) report(left map[types.UID]*corev1.Pod, now map[types.UID]state, said map[types.UID]state) bool {
	changed := false
	for _, pod := range slices.SortedFunc(maps.Values(left), func(a, b *corev1.Pod) int {
		return strings.Compare(name(a), name(b))
	}) {
		s, exists := now[pod.UID]
		before, known := said[pod.UID]
		switch {
		case !exists:
			d.printf("%s has left the cloud", name(pod))
			delete(left, pod.UID)
			delete(said, pod.UID)
		case known && before == s:
			continue
		default:
			d.printf("%s %s", name(pod), s)
			said[pod.UID] = s
		}
		changed = true
	}
	return changed
}

// read returns the state of each Pod that is left and still active.
func (d Drain) read(ctx context.Context, left map[types.UID]*corev1.Pod) (map[types.UID]state, error) {
	states := map[types.UID]state{}
	namespaces := map[string]bool{}
	for _, pod := range left {
		namespaces[pod.Namespace] = true
	}
	for namespace := range namespaces {
		list, err := d.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return nil, fmt.Errorf("listing the Pods of namespace %s: %w", namespace, err)
		}
		last, err := LastAboutHome(ctx, d.Client, namespace)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			pod := &list.Items[i]
			if left[pod.UID] == nil || !policy.IsActive(pod) {
				continue
			}
			s := state{}
			_, s.moving = policy.MovingHomeOf(pod)
			event, ok := last[pod.UID]
			switch {
			case s.moving || !ok:
			case event.Reason == policy.ReasonStaysInCloud:
				s.why = event.Message
			default:
				s.moving = true // Its successor starts only when it is gone.
			}
			states[pod.UID] = s
		}
	}
	return states, nil
}

// eventSource is the program that writes the Events about the way home.
const eventSource = "spillway-extender"

// LastAboutHome returns the last Event of the extender about the way home of each Pod of a namespace, by the UID of the
// Pod. A user who may not read Events gets none.
func LastAboutHome(
	ctx context.Context, client kubernetes.Interface, namespace string,
) (map[types.UID]explain.HomeEvent, error) {
	list, err := client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("source", eventSource).String(),
	})
	if apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the Events of namespace %s: %w", namespace, err)
	}
	slices.SortStableFunc(list.Items, func(a, b corev1.Event) int { return timeOf(&a).Compare(timeOf(&b)) })
	last := map[types.UID]explain.HomeEvent{}
	for i := range list.Items {
		event := &list.Items[i]
		switch reason := policy.Reason(event.Reason); reason {
		case policy.ReasonMovingHome, policy.ReasonMovedHome, policy.ReasonStaysInCloud:
			if event.InvolvedObject.Kind == "Pod" {
				last[event.InvolvedObject.UID] = explain.HomeEvent{Reason: reason, Message: event.Message}
			}
		}
	}
	return last, nil
}

func timeOf(event *corev1.Event) time.Time {
	for _, at := range []time.Time{event.LastTimestamp.Time, event.EventTime.Time} {
		if !at.IsZero() {
			return at
		}
	}
	return event.CreationTimestamp.Time
}

// annotate writes or removes the request on a Pod.
func (d Drain) annotate(ctx context.Context, pod *corev1.Pod, value *string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": pod.UID, "annotations": map[string]any{policy.DrainBackAnnotation: value},
	}})
	if err != nil {
		return fmt.Errorf("encoding a request: %w", err)
	}
	_, err = d.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch,
		metav1.PatchOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("asking for Pod %s: you need the right to patch Pods in namespace %s (verb patch, resource "+
			"pods), such as that of ClusterRole edit: %w", name(pod), pod.Namespace, err)
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return nil // It has gone, or another Pod has its name: there is nothing to ask for.
	case err != nil:
		return fmt.Errorf("asking for Pod %s: %w", name(pod), err)
	}
	return nil
}

func (d Drain) printf(format string, args ...any) {
	_, _ = io.WriteString(d.Out, explain.Printable(fmt.Sprintf(format, args...))+"\n")
}

func pods(n int) string {
	if n == 1 {
		return "1 Pod"
	}
	return fmt.Sprintf("%d Pods", n)
}
