package nodes_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata/fake"

	"github.com/spillway-k8s/spillway/extender/nodes"
	"github.com/spillway-k8s/spillway/policy"
)

func node(name string, virtual bool) *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: metav1.ObjectMeta{Name: name},
	}
	if virtual {
		object.Labels = policy.VirtualNodeLabels()
	}
	return object
}

func TestSplitSortsByClassAndLeavesOutUnknownNames(t *testing.T) {
	n := nodes.New()
	list := []any{node("local-0", false), node("virtual-0", true), node("local-1", false)}
	require.NoError(t, n.Store().Replace(list, "1"))
	local, virtual := n.View().Split([]string{"local-1", "nowhere", "virtual-0", "local-0"})
	assert.Equal(t, []string{"local-1", "local-0"}, local)
	assert.Equal(t, []string{"virtual-0"}, virtual)
}

func TestAChangeOfClassIsNotified(t *testing.T) {
	changes := 0
	n := nodes.New()
	n.OnVirtualChange(func() { changes++ })
	store := n.Store()
	require.NoError(t, store.Add(node("a", false)))
	assert.Zero(t, changes, "the node was unknown and counted as local")
	require.NoError(t, store.Update(node("a", true)))
	assert.Equal(t, 1, changes)
	require.NoError(t, store.Update(node("a", true)))
	assert.Equal(t, 1, changes, "a heartbeat is no change")
	require.NoError(t, store.Update(node("a", false)))
	assert.Equal(t, 2, changes)
	require.NoError(t, store.Update(node("a", true)))
	assert.True(t, n.IsVirtual("a"))
}

func TestADeletedVirtualNodeStaysVirtual(t *testing.T) {
	n := nodes.New()
	store := n.Store()
	require.NoError(t, store.Replace([]any{node("virtual-0", true), node("local-0", false)}, "1"))
	require.NoError(t, store.Delete(node("virtual-0", true)))
	require.NoError(t, store.Replace(nil, "2"))
	assert.True(t, n.IsVirtual("virtual-0"), "its Pods must not count as local")
	assert.Equal(t, nodes.Unknown, n.View()["local-0"])
}

// A stolen kubelet can give its Node the labels of other systems' virtual nodes. It must get no managed Pods by that,
// and must not change what counts as ours.
func TestANodeThatOnlyClaimsToBeVirtualIsForeign(t *testing.T) {
	changes := 0
	n := nodes.New()
	n.OnVirtualChange(func() { changes++ })
	claims := node("claims", false)
	claims.Labels = map[string]string{policy.NodeTypeLabel: policy.NodeTypeVirtual, policy.CloudClusterKey: "prod"}
	require.NoError(t, n.Store().Replace([]any{claims, node("local-0", false), node("virtual-0", true)}, "1"))
	assert.Equal(t, 1, changes)
	local, virtual := n.View().Split([]string{"claims", "local-0", "virtual-0"})
	assert.Equal(t, []string{"local-0"}, local)
	assert.Equal(t, []string{"virtual-0"}, virtual)
	assert.False(t, n.IsVirtual("claims"))
	assert.False(t, n.IsLocal("claims"))
	assert.True(t, n.IsLocal("unknown"))
	require.NoError(t, n.Store().Replace([]any{node("local-0", false)}, "2"))
	assert.False(t, n.IsLocal("claims"), "the Pods of a deleted node keep their class")

	require.NoError(t, n.Store().Update(node("claims", true)))
	assert.True(t, n.IsVirtual("claims"), "a virtual node of the previous version gets the label when its vnode starts")
	assert.Equal(t, 2, changes)
}

// A Liqo node stands for another cluster. Older versions of Liqo give it their own label only.
func TestANodeOfLiqoIsForeign(t *testing.T) {
	for name, labels := range map[string]map[string]string{
		"since July 2026":  {policy.NodeTypeLabel: policy.NodeTypeVirtual, "liqo.io/type": "virtual-node"},
		"before July 2026": {"liqo.io/type": "virtual-node", "kubernetes.io/role": "agent"},
	} {
		t.Run(name, func(t *testing.T) {
			milan := node("milan", false)
			milan.Labels = labels
			n := nodes.New()
			require.NoError(t, n.Store().Replace([]any{milan, node("local-0", false), node("virtual-0", true)}, "1"))
			local, virtual := n.View().Split([]string{"milan", "local-0", "virtual-0"})
			assert.Equal(t, []string{"local-0"}, local, "no managed Pod goes to another cluster")
			assert.Equal(t, []string{"virtual-0"}, virtual)
			assert.False(t, n.IsLocal("milan"), "the Pods of another cluster are no local replicas")
		})
	}
}

func TestTheLabelsOfVirtualNodesThatExist(t *testing.T) {
	n := nodes.New()
	assert.Empty(t, n.Ours())
	inZone := func(name, zone string) *metav1.PartialObjectMetadata {
		object := node(name, true)
		object.Labels[corev1.LabelTopologyZone] = zone
		return object
	}
	zones := func() map[string]string {
		found := map[string]string{}
		for _, virtual := range n.Ours() {
			found[virtual.Name] = virtual.Labels[corev1.LabelTopologyZone]
		}
		return found
	}
	store := n.Store()
	require.NoError(
		t,
		store.Replace([]any{inZone("virtual-1", "b"), node("local-0", false), inZone("virtual-0", "a")}, "1"),
	)
	assert.Equal(t, map[string]string{"virtual-0": "a", "virtual-1": "b"}, zones())
	assert.Equal(t, "virtual-0", n.Ours()[0].Name, "in the order of their names, so that messages do not change")
	require.NoError(t, store.Update(inZone("virtual-1", "c")))
	assert.Equal(t, map[string]string{"virtual-0": "a", "virtual-1": "c"}, zones())
	require.NoError(t, store.Update(node("virtual-1", false)))
	assert.Equal(t, map[string]string{"virtual-0": "a"}, zones())
	require.NoError(t, store.Delete(inZone("virtual-0", "a")))
	assert.Empty(t, zones(), "a deleted node excludes nothing")
	require.NoError(t, store.Replace([]any{inZone("virtual-2", "d")}, "2"))
	assert.Equal(t, map[string]string{"virtual-2": "d"}, zones())
}

func TestTheCloudIsSoldOutWhenEveryVirtualNodeIsLocked(t *testing.T) {
	locked := func(name string) *metav1.PartialObjectMetadata {
		object := node(name, true)
		object.Annotations = map[string]string{policy.SoldOutUntilAnnotation: "2026-11-01T12:00:00Z"}
		return object
	}
	n := nodes.New()
	assert.False(t, n.SoldOut(), "there is no virtual node")
	require.NoError(
		t,
		n.Store().Replace([]any{locked("virtual-0"), node("virtual-1", true), node("local-0", false)}, "1"),
	)
	assert.False(t, n.SoldOut())
	assert.Equal(t, map[string]string{"virtual-0": "2026-11-01T12:00:00Z"}, n.Locks())
	require.NoError(t, n.Store().Update(locked("virtual-1")))
	assert.True(t, n.SoldOut())
	require.NoError(t, n.Store().Update(node("virtual-0", true)))
	assert.False(t, n.SoldOut())
}

func TestAnObjectThatIsNoNodeIsAnError(t *testing.T) {
	store := nodes.New().Store()
	require.ErrorContains(t, store.Update(&corev1.Pod{}), "expected the metadata of a Node, got *v1.Pod")
	require.ErrorContains(t, store.Replace([]any{"a"}, "1"), "expected the metadata of a Node, got string")
	require.ErrorContains(t, store.Delete("a"), "expected the metadata of a Node, got string")
}

func TestAwait(t *testing.T) {
	t.Run("waits for a node that the scheduler has seen first", func(t *testing.T) {
		n := nodes.New()
		done := make(chan error)
		go func() {
			_, err := n.Await(t.Context(), []string{"new"})
			done <- err
		}()
		require.NoError(t, n.Store().Add(node("new", false)))
		require.NoError(t, <-done)
	})
	t.Run("does not wait again for the same name until another node appears", func(t *testing.T) {
		n := nodes.New()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := n.Await(ctx, []string{"new"})
		require.ErrorContains(t, err, `unknown node "new"`)
		_, err = n.Await(t.Context(), []string{"new"})
		require.ErrorContains(t, err, `unknown node "new"`, "it would block forever")
		require.NoError(t, n.Store().Add(node("another", false)))
		done := make(chan error)
		go func() {
			_, err := n.Await(t.Context(), []string{"new"})
			done <- err
		}()
		require.NoError(t, n.Store().Add(node("new", false)))
		require.NoError(t, <-done)
	})
	t.Run("does not wait again although another node has changed while it waited", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := nodes.New()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			time.AfterFunc(500*time.Millisecond, func() { assert.NoError(t, n.Store().Add(node("another", false))) })
			_, err := n.Await(ctx, []string{"new"})
			require.ErrorContains(t, err, `unknown node "new"`)
			start := time.Now()
			_, err = n.Await(t.Context(), []string{"new"})
			require.ErrorContains(t, err, `unknown node "new"`)
			assert.Zero(t, time.Since(start))
		})
	})
	t.Run("returns the name of a node that does not appear", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := nodes.New().Await(ctx, []string{"nowhere"})
		require.ErrorContains(t, err, `unknown node "nowhere"`)
	})
}

func TestRunFollowsTheNodesOfTheCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		scheme := fake.NewTestScheme()
		require.NoError(t, metav1.AddMetaToScheme(scheme))
		client := fake.NewSimpleMetadataClient(scheme, node("local-0", false))
		n := nodes.New()
		assert.False(t, n.Synced())
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			n.Run(ctx, client)
		}()
		synctest.Wait()
		assert.True(t, n.Synced())
		created := client.Resource(corev1.SchemeGroupVersion.WithResource("nodes")).(fake.MetadataClient)
		_, err := created.CreateFake(node("virtual-0", true), metav1.CreateOptions{})
		require.NoError(t, err)
		synctest.Wait()
		assert.Equal(t, nodes.View{"local-0": nodes.Local, "virtual-0": nodes.Virtual}, n.View())
		stop()
		<-ended
	})
}
