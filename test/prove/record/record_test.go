package record

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
)

func TestARecordIsReadUnchanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record.jsonl")
	now := time.Date(2026, 11, 21, 12, 0, 0, 5, time.UTC)
	var observed []Entry
	log, err := Create(path, func() time.Time { return now }, func(entry Entry) { observed = append(observed, entry) })
	require.NoError(t, err)
	log.Add(Entry{Pod: &Pod{Version: 7, Name: "web", Quota: new(0)}})
	log.Add(Entry{Request: &Request{ID: 1, Verb: "filter", Local: 3}})
	log.Add(Entry{Switch: &Switch{}})
	require.NoError(t, log.Close())
	read, err := Read(path)
	require.NoError(t, err)
	assert.Equal(t, log.Entries(), read)
	assert.Equal(t, observed, read)
	assert.Equal(t, now, read[0].At)
}

func TestPodOf(t *testing.T) {
	created := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: "web-0", UID: "u", ResourceVersion: "12",
			Labels: map[string]string{"controller-revision-hash": "h", policy.BurstLabel: "auto",
				AppLabel: "web"},
			CreationTimestamp: metav1.Time{Time: created},
			Annotations: map[string]string{
				policy.LocalReplicasAnnotation: "2", policy.LocalSlotAnnotation: "u", policy.LocalMinAnnotation: "10%",
				policy.MovingHomeAnnotation: `{"replicaSet":"web-h","replicaSetUID":"rs","hash":"h"}`,
				policy.CloudSlotAnnotation:  "u/0.25_0.5",
			},
			OwnerReferences: []metav1.OwnerReference{{Name: "web", UID: "o", Controller: new(true)}},
		},
		Spec: corev1.PodSpec{
			SchedulerName: "s", Priority: new(int32(5)),
			Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m")},
			}}},
			Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
					NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
						{Key: RoomLabel, Operator: corev1.NodeSelectorOpIn, Values: []string{"tight-1"}},
					}}},
				},
			}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "why"},
			{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "PreemptionByScheduler"},
			{Type: corev1.PodReady, Status: corev1.ConditionTrue},
		}},
	}
	noted, err := PodOf(pod)
	require.NoError(t, err)
	assert.Equal(t, &Pod{
		Version: 12, Namespace: "ns", Name: "web-0", UID: "u", Owner: "o", OwnerName: "web", Hash: "h", Quota: new(2),
		Burst: "auto", Slot: true, Scheduler: "s", Phase: "Pending", Priority: 5,
		CloudSlot: true, Size: sizes.Flavor{MilliCPU: 250, MilliGiB: 500},
		Reason: "Unschedulable", Message: "why", Disrupted: "PreemptionByScheduler",
		Settings: map[string]string{policy.LocalMinAnnotation: "10%"}, App: "web", Created: created, Ready: true,
		Moving: "rs", MilliCPU: 200, Room: "tight-1",
	}, noted)

	pod.Annotations[policy.LocalSlotAnnotation] = "the UID of another Pod"
	noted, err = PodOf(pod)
	require.NoError(t, err)
	assert.False(t, noted.Slot)

	pod.Annotations[policy.LocalReplicasAnnotation] = "30%"
	noted, err = PodOf(pod)
	require.NoError(t, err)
	assert.Nil(t, noted.Quota)
	assert.Equal(t, "30%", noted.Settings[policy.LocalReplicasAnnotation])

	pod.Annotations[policy.MovingHomeAnnotation] = "home"
	_, err = PodOf(pod)
	assert.ErrorContains(t, err, "reading the move of pod ns/web-0")
}

// cluster simulates an API server with Pods. It returns the given lists and watches one after another.
type cluster struct {
	lists   []*corev1.PodList
	watches []func() (watch.Interface, error)
	stop    context.CancelFunc
}

func (c *cluster) list(context.Context, metav1.ListOptions) (runtime.Object, error) {
	next := c.lists[0]
	c.lists = c.lists[1:]
	return next, nil
}

func (c *cluster) watch(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
	if len(c.watches) == 0 {
		c.stop()
		return nil, apierrors.NewServiceUnavailable("there are no more watches")
	}
	next := c.watches[0]
	c.watches = c.watches[1:]
	return next()
}

func pod(name, version string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), ResourceVersion: version}}
}

func listOf(version string, pods ...*corev1.Pod) *corev1.PodList {
	list := &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: version}}
	for _, pod := range pods {
		list.Items = append(list.Items, *pod)
	}
	return list
}

// events returns a watch that delivers the events and ends.
func events(delivered ...watch.Event) func() (watch.Interface, error) {
	return func() (watch.Interface, error) {
		w := watch.NewFakeWithChanSize(len(delivered), false)
		for _, event := range delivered {
			w.Action(event.Type, event.Object)
		}
		w.Stop()
		return w, nil
	}
}

func expired() (watch.Interface, error) { return nil, apierrors.NewResourceExpired("too old") }

func TestTheRecorderMissesNothingThatAListContains(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	c := &cluster{stop: stop}
	c.lists = []*corev1.PodList{listOf("3", pod("b", "2"), pod("a", "1")), listOf("9", pod("c", "8"), pod("b", "4"))}
	c.watches = []func() (watch.Interface, error){
		events(watch.Event{Type: watch.Modified, Object: pod("b", "4")}),
		events(watch.Event{Type: watch.Bookmark, Object: pod("", "5")},
			watch.Event{Type: watch.Added, Object: pod("d", "6")}),
		expired, // Meanwhile "d" and "a" are deleted unobserved.
		events(watch.Event{Type: watch.Deleted, Object: pod("c", "10")}),
	}
	log, err := Create(filepath.Join(t.TempDir(), "record.jsonl"), time.Now, func(Entry) {})
	require.NoError(t, err)
	r := &Recorder{log: log, now: time.Now, pods: map[types.UID]*Pod{}, changed: map[string]time.Time{}}
	require.NoError(t, follow(ctx, source{list: c.list, watch: c.watch, observe: r.observePod, missing: r.losePods}))
	type observation struct {
		name    string
		version uint64
		gone    bool
		listed  bool
	}
	var got []observation
	for _, entry := range log.Entries() {
		got = append(got, observation{entry.Pod.Name, entry.Pod.Version, entry.Pod.Gone, entry.Pod.Listed})
	}
	want := []observation{
		{"a", 1, false, true}, {"b", 2, false, true}, {"b", 4, false, false}, {"d", 6, false, false},
		{"c", 8, false, true},
	}
	require.Equal(t, want, got[:len(want)])
	assert.ElementsMatch(t, []observation{{"a", 9, true, true}, {"d", 9, true, true}}, got[5:7], "missing in the list")
	assert.Equal(t, []observation{{"c", 10, true, false}}, got[7:])
	require.NoError(t, log.Close())
}

func TestNodeOf(t *testing.T) {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: "tight-0", ResourceVersion: "3", Labels: map[string]string{RoomLabel: "tight-0"},
		},
		Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")},
			Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
	noted, err := NodeOf(node)
	require.NoError(t, err)
	assert.Equal(t, &Node{
		Version: 3, Name: "tight-0", Content: noted.Content, MilliCPU: 1000, Room: "tight-0", Open: true,
	}, noted)
	node.Spec.Taints = []corev1.Taint{{Key: "node.kubernetes.io/not-ready", Effect: corev1.TaintEffectNoSchedule}}
	closed, err := NodeOf(node)
	require.NoError(t, err)
	assert.False(t, closed.Open)
	assert.NotEqual(t, noted.Content, closed.Content)
}
