package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/config"
)

// One process, two zones: the Pods of each node run in its zone, and those of a node with subnets of its own in these.
func TestANodeHasItsZoneAndItsSubnetsInTheCloud(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	c := settings(t, cloud, "")
	first, second := nodeName(t), nodeName(t)
	c.Nodes = []config.VirtualNode{
		{Name: first, Zone: "north-a"}, {Name: second, Zone: "north-b", SubnetIDs: []string{"subnet-b"}},
	}
	c.HealthListen = programtest.FreeAddress(t) // The port after the first is that of the second node.
	start(t, c)
	ns := namespace(t)
	create(t, ns, podOn(first, "a"))
	create(t, ns, podOn(second, "b"))
	await(t, ns, "a", isReady)
	await(t, ns, "b", isReady)
	for zone, want := range map[string]struct{ namespace, subnet string }{
		"north-a": {cloudtest.Namespace, "subnet"},
		"north-b": {fmt.Sprintf("%s-%s", cloudtest.Namespace, second), "subnet-b"},
	} {
		list, err := cloud.Client.ListPods(t.Context(), want.namespace, cci.ListOptions{})
		require.NoError(t, err)
		require.Len(t, list.Items, 1, want.namespace)
		required := list.Items[0].Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
		assert.Equal(t, []string{zone}, required.NodeSelectorTerms[0].MatchExpressions[0].Values)
		networks, err := cloud.Client.ListNetworks(t.Context(), want.namespace)
		require.NoError(t, err)
		require.Len(t, networks, 1)
		assert.Equal(t, []cci.Subnet{{SubnetID: want.subnet}}, networks[0].Spec.Subnets)
	}
	assert.Empty(t, cloud.DroppedFields(), "the service knows all of it")
}
