package nodes_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/extender/nodes"
	"github.com/spillway-k8s/spillway/policy"
)

func node(name string, virtual bool) *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if virtual {
		object.Labels = map[string]string{policy.NodeTypeLabel: policy.NodeTypeVirtual}
	}
	return object
}

func TestSplitSortsByClassAndLeavesOutUnknownNames(t *testing.T) {
	n := nodes.New(func() {})
	require.NoError(t, n.Store().Replace([]any{node("local-0", false), node("virtual-0", true), node("local-1", false)}, "1"))
	local, virtual := n.View().Split([]string{"local-1", "nowhere", "virtual-0", "local-0"})
	assert.Equal(t, []string{"local-1", "local-0"}, local)
	assert.Equal(t, []string{"virtual-0"}, virtual)
}

func TestAChangeOfClassIsTold(t *testing.T) {
	changes := 0
	n := nodes.New(func() { changes++ })
	store := n.Store()
	require.NoError(t, store.Add(node("a", false)))
	assert.Zero(t, changes, "an unknown name counted as local before")
	require.NoError(t, store.Update(node("a", true)))
	assert.Equal(t, 1, changes)
	require.NoError(t, store.Update(node("a", true)))
	assert.Equal(t, 1, changes, "a heartbeat is no change")
	require.NoError(t, store.Update(node("a", false)))
	assert.Equal(t, 2, changes)
	require.NoError(t, store.Update(node("a", true)))
	assert.True(t, n.IsVirtual("a"))
}

func TestARemovedVirtualNodeStaysVirtual(t *testing.T) {
	n := nodes.New(func() {})
	store := n.Store()
	require.NoError(t, store.Replace([]any{node("virtual-0", true), node("local-0", false)}, "1"))
	require.NoError(t, store.Delete(node("virtual-0", true)))
	require.NoError(t, store.Replace(nil, "2"))
	assert.True(t, n.IsVirtual("virtual-0"), "its Pods must not count as local")
	assert.Equal(t, nodes.Unknown, n.View()["local-0"])
}

func TestAwait(t *testing.T) {
	t.Run("waits for a node that the scheduler saw first", func(t *testing.T) {
		n := nodes.New(func() {})
		done := make(chan error)
		go func() {
			_, err := n.Await(t.Context(), []string{"new"})
			done <- err
		}()
		require.NoError(t, n.Store().Add(node("new", false)))
		require.NoError(t, <-done)
	})
	t.Run("does not wait again for a node that did not come, until another does", func(t *testing.T) {
		n := nodes.New(func() {})
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := n.Await(ctx, []string{"new"})
		require.ErrorContains(t, err, `unknown node "new"`)
		_, err = n.Await(t.Context(), []string{"new"})
		require.ErrorContains(t, err, `unknown node "new"`, "it would block for ever")
		require.NoError(t, n.Store().Add(node("another", false)))
		done := make(chan error)
		go func() {
			_, err := n.Await(t.Context(), []string{"new"})
			done <- err
		}()
		require.NoError(t, n.Store().Add(node("new", false)))
		require.NoError(t, <-done)
	})
	t.Run("names a node that does not come", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := nodes.New(func() {}).Await(ctx, []string{"nowhere"})
		require.ErrorContains(t, err, `unknown node "nowhere"`)
	})
}
