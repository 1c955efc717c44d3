package podcache_test

import (
	"maps"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metadatafake "k8s.io/client-go/metadata/fake"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/admission/controllers/podcache"
	"github.com/spillway-k8s/spillway/admission/controllers/podcachetest"
	"github.com/spillway-k8s/spillway/policy"
)

func named(name string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Name, pod.UID = name, "" }
}

func withQuota(pod *corev1.Pod) {
	pod.Annotations = map[string]string{policy.LocalReplicasAnnotation: "1"}
}

func in(namespace string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Namespace = namespace }
}

func names(list ...string) []cache.ObjectName {
	var found []cache.ObjectName
	for _, name := range list {
		found = append(found, cache.NewObjectName("shop", name))
	}
	return found
}

func TestPodsAreListedByTheirIndexes(t *testing.T) {
	const virtual = podcachetest.VirtualNode
	_, pods := podcachetest.Pods(t,
		podcachetest.WaitingPod(named("waits")),
		podcachetest.WaitingPod(named("waits-elsewhere"), in("other")),
		podcachetest.RunningPod(virtual, named("cloud")),
		podcachetest.RunningPod("bursting-node", named("other-cloud")),
		podcachetest.RunningPod("local-1", named("local"), withQuota),
		podcachetest.RunningPod("local-2", named("local-without-shares")),
		podcachetest.RunningPod("local-2", named("finished"), func(pod *corev1.Pod) {
			pod.Status.Phase = corev1.PodFailed
		}),
		podcachetest.RunningPod(virtual, named("cloud-with-quota"), withQuota, func(pod *corev1.Pod) {
			pod.Annotations[policy.DeletionCostAnnotation] = "7"
		}),
	)
	nodes := podcachetest.Nodes(t, "bursting-node")

	assert.Equal(t, names("waits"), pods.Waiting("shop"))
	assert.Equal(t, names("cloud"), pods.Unranked(virtual))
	assert.Empty(t, pods.Unranked("no-such-node"))
	revision := policy.RevisionOf(podcachetest.RunningPod("local-1"))
	all, local := pods.Replicas(revision, nodes)
	assert.Equal(t, 6, all, "replicas that wait count, and those without shares")
	assert.Equal(t, 2, local)
	all, local = pods.Replicas(policy.Revision{Owner: "another"}, nodes)
	assert.Zero(t, all+local)
	assert.Equal(t, []cache.ObjectName{cache.NewObjectName("other", "waits-elsewhere")},
		pods.InNamespace("other", podcache.IsWaiting))
	assert.Empty(t, pods.InNamespace("other", podcache.IsUnranked))
	assert.Equal(
		t,
		names("cloud", "cloud-with-quota"),
		pods.InCloud(nodes),
		"Pods on nodes of other systems do not count",
	)
	assert.Equal(t, names("local"), pods.Select(func(pod *corev1.Pod) bool { return pod.Spec.NodeName == "local-1" }))
	assert.Nil(t, pods.Get(cache.NewObjectName("shop", "gone")))
	assert.Equal(t, "waits", pods.Get(cache.NewObjectName("shop", "waits")).Name)
}

func TestHandlersAreCalledUntilStop(t *testing.T) {
	client, pods := podcachetest.Pods(t, podcachetest.WaitingPod(named("first")))
	var lock sync.Mutex
	seen := map[string]bool{}
	has := func(name string) func() bool {
		return func() bool {
			lock.Lock()
			defer lock.Unlock()
			return seen[name]
		}
	}
	stop, err := pods.Handle(cache.ResourceEventHandlerFuncs{AddFunc: func(object any) {
		lock.Lock()
		defer lock.Unlock()
		seen[object.(*corev1.Pod).Name] = true
	}})
	require.NoError(t, err)
	podcachetest.Eventually(t, has("first"), "the handler is called for a Pod in the cache")
	create := func(name string) {
		pod := podcachetest.WaitingPod(named(name))
		_, err := client.CoreV1().Pods("shop").Create(t.Context(), pod, metav1.CreateOptions{})
		require.NoError(t, err)
		podcachetest.Eventually(
			t,
			func() bool { return pods.Get(cache.NewObjectName("shop", name)) != nil },
			"it is cached",
		)
	}
	create("second")
	podcachetest.Eventually(t, has("second"), "the handler is called for a new Pod")
	require.NoError(t, stop())
	create("third")
	assert.False(t, has("third")(), "the handler is not called after stop")
}

func TestVirtualNodes(t *testing.T) {
	nodes := podcachetest.Nodes(t, "bursting-node")
	assert.Equal(t, []string{podcachetest.VirtualNode}, nodes.Names())
	ours := []policy.VirtualNode{{Name: podcachetest.VirtualNode, Labels: policy.VirtualNodeLabels()}}
	assert.Equal(t, ours, nodes.Ours())
	for name, want := range map[string]struct{ has, ours bool }{
		podcachetest.VirtualNode: {true, true}, "bursting-node": {true, false}, "local-1": {false, false},
	} {
		assert.Equal(t, want.has, nodes.Has(name), name)
		assert.Equal(t, want.ours, nodes.IsOurs(name), name)
	}
}

func TestAChangeOfWhatVirtualNodesExcludeIsReported(t *testing.T) {
	scheme := metadatafake.NewTestScheme()
	require.NoError(t, metav1.AddMetaToScheme(scheme))
	node := &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: podcachetest.VirtualNode, Labels: policy.VirtualNodeLabels()},
	}
	client := metadatafake.NewSimpleMetadataClient(scheme, node)
	nodes := podcache.NewVirtualNodes(client)
	podcachetest.Run(t, nodes.Run)
	changes := make(chan struct{}, 10)
	stop, err := nodes.OnChange(func() { changes <- struct{}{} })
	require.NoError(t, err)
	<-changes // The node exists.

	resource := client.Resource(corev1.SchemeGroupVersion.WithResource("nodes")).(metadatafake.MetadataClient)
	heartbeat := node.DeepCopy()
	heartbeat.Annotations = map[string]string{"example.com/heartbeat": "1"}
	_, err = resource.UpdateFake(heartbeat, metav1.UpdateOptions{})
	require.NoError(t, err)
	zone := heartbeat.DeepCopy()
	zone.Labels[corev1.LabelTopologyZone] = "a"
	_, err = resource.UpdateFake(zone, metav1.UpdateOptions{})
	require.NoError(t, err)
	<-changes
	assert.Equal(t, "a", nodes.Ours()[0].Labels[corev1.LabelTopologyZone], "a heartbeat is no change")
	require.NoError(t, resource.Delete(t.Context(), node.Name, metav1.DeleteOptions{}))
	<-changes
	assert.Empty(t, nodes.Ours())
	require.NoError(t, stop())
}

func TestThePodsWithANodeKeepWhatTheyInherit(t *testing.T) {
	want := map[string]string{
		policy.LocalReplicasAnnotation: "1", policy.BurstAfterAnnotation: "90s", policy.WayHomeAnnotation: "true",
		policy.InheritedAnnotation: policy.BurstAfterAnnotation, policy.DeletionCostAnnotation: "7",
	}
	_, pods := podcachetest.Pods(t, podcachetest.RunningPod("local-1", func(pod *corev1.Pod) {
		pod.Annotations = maps.Clone(want)
		pod.Annotations["example.com/manifest"] = "long"
	}))
	assert.Equal(t, want, pods.Get(podcachetest.Web).Annotations)
}
