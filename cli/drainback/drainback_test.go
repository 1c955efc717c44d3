package drainback_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/spillway-k8s/spillway/cli/drainback"
	"github.com/spillway-k8s/spillway/policy"
)

var began = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// podResource is for the tracker: a call of the client within a call of the client would wait for itself.
var podResource = corev1.SchemeGroupVersion.WithResource("pods")

// world is a cluster in which something happens between two reads of its Pods.
type world struct {
	t      *testing.T
	client *fake.Clientset
	drain  drainback.Drain
	out    strings.Builder
	pods   map[string]*corev1.Pod
	now    time.Time
	reads  int
	// then is what happens before each read, by its number from 1.
	then map[int]func()
}

func newWorld(t *testing.T, names ...string) *world {
	w := &world{t: t, pods: map[string]*corev1.Pod{}, now: began, then: map[int]func(){}}
	var objects []runtime.Object
	for _, name := range names {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, UID: types.UID("uid-" + name),
			CreationTimestamp: metav1.NewTime(began.Add(-time.Hour)),
		}}
		w.pods[name] = pod
		objects = append(objects, pod)
	}
	w.client = fake.NewClientset(objects...)
	w.client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		w.reads++
		w.now = w.now.Add(10 * time.Second)
		if then := w.then[w.reads]; then != nil {
			then()
		}
		return false, nil, nil
	})
	w.drain = drainback.Drain{
		Client: w.client, Out: &w.out, Now: func() time.Time { return w.now }, Period: time.Millisecond,
		Settle: 30 * time.Second, TakeBack: "kubectl spillway drain-back --all --cancel",
	}
	return w
}

func (w *world) candidates(names ...string) []drainback.Candidate {
	var all []drainback.Candidate
	for _, name := range names {
		all = append(all, drainback.Candidate{Pod: w.pods[name]})
	}
	return all
}

// request returns the annotation of a Pod.
func (w *world) request(name string) string {
	pod, err := w.client.Tracker().Get(podResource, "shop", name)
	require.NoError(w.t, err)
	return pod.(*corev1.Pod).Annotations[policy.DrainBackAnnotation]
}

func (w *world) evict(name string) {
	require.NoError(w.t, w.client.Tracker().Delete(podResource, "shop", name))
}

func (w *world) event(name string, reason policy.Reason, message string) {
	require.NoError(w.t, w.client.Tracker().Add(&corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name + w.now.Format(".150405") + string(reason)},
		InvolvedObject: corev1.ObjectReference{
			Kind: "Pod", Namespace: "shop", Name: name, UID: w.pods[name].UID,
		},
		Reason: string(reason), Message: message, LastTimestamp: metav1.NewTime(w.now),
	}))
}

func TestPodsAreFollowedUntilNoneIsLeft(t *testing.T) {
	w := newWorld(t, "cart-1", "cart-2")
	w.then[2] = func() { w.event("cart-2", policy.ReasonStaysInCloud, "no local node has room") }
	w.then[3] = func() { w.event("cart-1", policy.ReasonMovingHome, "its successor starts") }
	w.then[4] = func() { w.evict("cart-1") }
	w.then[5] = func() { w.event("cart-2", policy.ReasonMovingHome, "its successor starts") }
	w.then[6] = func() { w.evict("cart-2") }
	require.NoError(t, w.drain.Run(t.Context(), w.candidates("cart-2", "cart-1")))
	assert.Equal(t, `Asked to return: 2 Pods.
shop/cart-1 waits for its turn
shop/cart-2 waits for its turn
shop/cart-2 stays for now: no local node has room
shop/cart-1 returns: its successor must be ready on a local node first
shop/cart-1 has left the cloud
shop/cart-2 returns: its successor must be ready on a local node first
shop/cart-2 has left the cloud
2 of 2 Pods have left the cloud.
`, w.out.String())
}

func TestItEndsWhenEachPodThatIsLeftHasAReason(t *testing.T) {
	w := newWorld(t, "cart-1", "batch-1")
	w.then[1] = func() { w.event("cart-1", policy.ReasonStaysInCloud, "a disruption budget does not allow it") }
	candidates := append(w.candidates("cart-1"), drainback.Candidate{
		Pod: w.pods["batch-1"], Never: "its controller is a Job",
	})
	err := w.drain.Run(t.Context(), candidates)
	require.ErrorIs(t, err, drainback.ErrStay)
	assert.ErrorContains(t, err, ": 2")
	assert.Equal(t, `shop/batch-1 stays: its controller is a Job
Asked to return: 1 Pod.
shop/cart-1 stays for now: a disruption budget does not allow it
0 of 1 Pod have left the cloud.
The others may still return: the requests have an effect for a day. To take them back:
  kubectl spillway drain-back --all --cancel
`, w.out.String())
	assert.Empty(t, w.request("batch-1"))
	assert.Equal(t, 4, w.reads, "the reason must hold for 30 s")
}

func TestAPodWithoutAReasonIsWaitedForUntilTheEnd(t *testing.T) {
	w := newWorld(t, "cart-1")
	ctx, stop := context.WithCancel(t.Context())
	w.then[10] = stop
	require.ErrorIs(t, w.drain.Run(ctx, w.candidates("cart-1")), drainback.ErrStay)
	assert.Contains(t, w.out.String(), "No longer waiting. 0 of 1 Pod have left the cloud.\n")
	assert.Contains(t, w.out.String(), "drain-back --all --cancel")
	assert.Equal(t, began.Format(time.RFC3339), w.request("cart-1"), "the request stays")

	w.pods["cart-1"].Annotations = map[string]string{policy.DrainBackAnnotation: "any"}
	require.NoError(t, w.drain.Cancel(t.Context(), w.candidates("cart-1")))
	assert.Empty(t, w.request("cart-1"))
	assert.Contains(t, w.out.String(), "Requests taken back: 1.")
}

func TestAUserWithoutTheRightIsToldWhichOne(t *testing.T) {
	w := newWorld(t, "cart-1")
	w.client.PrependReactor("patch", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(action.GetResource().GroupResource(), "cart-1", nil)
	})
	err := w.drain.Run(t.Context(), w.candidates("cart-1"))
	assert.ErrorContains(t, err, "you need the right to patch Pods in namespace shop (verb patch, resource pods)")
	assert.Zero(t, w.reads)
}

func TestARequestIsNeverOlderThanItsPod(t *testing.T) {
	w := newWorld(t, "cart-1")
	created := began.Add(time.Minute) // The clock of the user is behind.
	w.pods["cart-1"].CreationTimestamp = metav1.NewTime(created)
	w.then[1] = func() {
		assert.Equal(t, created.Format(time.RFC3339), w.request("cart-1"))
		w.evict("cart-1")
	}
	require.NoError(t, w.drain.Run(t.Context(), w.candidates("cart-1")))
}

func TestAPreviewChangesNothing(t *testing.T) {
	w := newWorld(t, "cart-1", "batch-1")
	w.drain.Preview(append(w.candidates("cart-1"), drainback.Candidate{Pod: w.pods["batch-1"], Never: "it is a Job"}))
	assert.Equal(t, "shop/batch-1 stays: it is a Job\nshop/cart-1 would be asked to return\n", w.out.String())
	assert.Empty(t, w.client.Actions())
	require.NoError(t, w.drain.Run(t.Context(), nil))
	assert.Contains(t, w.out.String(), "No Pod is in the cloud.")
}
