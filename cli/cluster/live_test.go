package cluster

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	clienttesting "k8s.io/client-go/testing"

	"github.com/spillway-k8s/spillway/cli/status"
	"github.com/spillway-k8s/spillway/internal/explain"
)

// startLive follows the namespace shop until the test ends.
func startLive(t *testing.T, reader *Reader, inNamespace string) *Live {
	t.Helper()
	live, err := reader.Follow(inNamespace)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); live.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
	live.WaitForRead(ctx)
	return live
}

func TestALiveStatusIsThatOfStatusAndFollowsChanges(t *testing.T) {
	pod, objects := cart()
	reader, client := newReader(t, objects...)
	live := startLive(t, reader, "shop")
	in, err := reader.Status(t.Context(), "shop")
	require.NoError(t, err)
	assert.Equal(t, status.Summarize(in), status.Summarize(live.Status()))
	assert.Equal(t, "Deployment cart", status.Summarize(live.Status()).Workloads[0].Name)

	second := pod.DeepCopy()
	second.Name, second.UID = "cart-2", "p2"
	_, err = client.CoreV1().Pods("shop").Create(t.Context(), second, metav1.CreateOptions{})
	require.NoError(t, err)
	deadline := time.After(30 * time.Second)
	for { // The first notifications may be about what was read first.
		changed := live.Changed()
		if status.Summarize(live.Status()).Workloads[0].Cloud == 2 {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatal("the change was not followed")
		}
	}
}

func TestALiveStatusSaysWhatCannotBeRead(t *testing.T) {
	_, objects := cart()
	reader, client := newReader(t, objects...)
	forbidden := func(action clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(action.GetResource().GroupResource(), "", nil)
	}
	client.PrependReactor("list", "nodes", forbidden)
	client.PrependReactor("list", "jobs", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("connection refused")
	})
	live := startLive(t, reader, "shop")
	got := live.Status()
	assert.Equal(t, []string{
		"the Jobs (connection refused)", "the virtual nodes (you lack the right to read it)",
	}, got.Unknown)
	assert.Len(t, got.Pods, 1)
}

// Most users may not read Nodes. No Pod in the cloud may be called local for that.
func TestALiveStatusKnowsTheNamesOfTheVirtualNodes(t *testing.T) {
	pod, objects := cart()
	pod.Spec.NodeName = "virtual-node-cci-0"
	reader, client := newReader(t, objects...)
	reader.installation.VirtualNodes = []string{"virtual-node-cci-0"}
	client.PrependReactor("list", "nodes", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(action.GetResource().GroupResource(), "", nil)
	})
	got := status.Summarize(startLive(t, reader, "shop").Status())
	require.Len(t, got.Workloads, 1)
	assert.Equal(t, 1, got.Workloads[0].Cloud)
	require.Len(t, got.Nodes, 1)
	assert.Equal(t, explain.NodeUnknown, got.Nodes[0].State)
}

func TestAnErrorThatIsOverIsForgotten(t *testing.T) {
	reader, _ := newReader(t)
	live, err := reader.Follow("shop")
	require.NoError(t, err)
	assert.Contains(t, live.Status().Unknown, "the Pods (not read yet)")
	changed := live.Changed()
	live.note("the Pods", errors.New("timeout"))
	assert.Contains(t, live.Status().Unknown, "the Pods (timeout)")
	<-changed
	live.note("the Pods", nil)
	live.note("the Pods", apierrors.NewResourceExpired("too old"))
	assert.NotContains(t, live.Status().Unknown, "the Pods (timeout)")
}

func TestEventsOfSpillwayAreFollowed(t *testing.T) {
	event := func(name, source string) *corev1.Event {
		return &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Source: corev1.EventSource{Component: source},
		}
	}
	reader, client := newReader(t)
	client.PrependReactor("list", "events", func(action clienttesting.Action) (bool, runtime.Object, error) {
		// The fake client does not know the fields of Events.
		source, _ := selectedFields(action).RequiresExactMatch("source")
		return true, &corev1.EventList{Items: []corev1.Event{*event("of-"+source, source)}}, nil
	})
	live := startLive(t, reader, "shop")
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		var names []string
		for _, e := range live.Events() {
			names = append(names, e.Name)
		}
		assert.ElementsMatch(c, []string{"of-spillway-admission", "of-spillway-extender", "of-spillway-vnode"}, names)
	}, 30*time.Second, 10*time.Millisecond)
	// An informer may list more than once.
	selected := sets.New[string]()
	for _, action := range client.Actions() {
		if action.Matches("list", "events") {
			selected.Insert(selectedFields(action).String())
		}
	}
	assert.Equal(t, sets.New("source=spillway-admission", "source=spillway-extender",
		"source=spillway-vnode"), selected)
}

// selectedFields returns what a list selects by fields, nothing for other actions.
func selectedFields(action clienttesting.Action) fields.Selector {
	if list, ok := action.(clienttesting.ListAction); ok {
		return list.GetListRestrictions().Fields
	}
	return fields.Nothing()
}

func TestPodsOfAWorkloadAreExplainedWithThoseThatWaitFirst(t *testing.T) {
	pod, objects := cart()
	waiting := pod.DeepCopy()
	waiting.Name, waiting.UID, waiting.Spec.NodeName = "cart-9", "p9", ""
	other := pod.DeepCopy()
	other.Name, other.UID, other.OwnerReferences = "other", "p8", nil
	reader, _ := newReader(t, append(objects, waiting, other)...)
	live := startLive(t, reader, "shop")
	got, total, err := live.Explain(t.Context(), "shop", "Deployment cart", 1)
	require.NoError(t, err)
	assert.Equal(t, 2, total)
	require.Len(t, got, 1)
	assert.Equal(t, "cart-9", got[0].Pod)
	assert.Equal(t, explain.Waiting, got[0].Place)
	assert.Equal(t, "Deployment cart", got[0].Workload)

	got, total, err = live.Explain(t.Context(), "shop", "Deployment other", 1)
	require.NoError(t, err)
	assert.Empty(t, got)
	assert.Zero(t, total)
	_, total, err = live.Explain(t.Context(), "another", "Deployment cart", 1)
	require.NoError(t, err)
	assert.Zero(t, total, "the page shows one namespace")
}
