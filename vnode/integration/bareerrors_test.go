package integration

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/provider"
)

// The errors of the real service may not say why. The first start still creates the cloud namespace, a Pod whose
// creation is answered late is adopted, and one that is gone is seen gone, by lists.
func TestALifeWithErrorsThatHaveNoReason(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t, func(c *ccisim.Config) { c.Policies.BareErrors = true })
	v, ns := startOn(t, cloud)
	cloud.Fault(t, ccisim.Fault{Kind: ccisim.LoseAnswer, Verb: "create", Path: "/pods$", Times: 1})
	for _, name := range []string{"lost", "deleted", "goes"} {
		create(t, ns, podOn(v.name(), name))
		await(t, ns, name, isReady)
	}
	assert.Len(t, cloud.PodsEver(), 3, "nothing was created twice")

	remove(t, ns, "goes")
	awaitGone(t, ns, "goes")

	v.stop(t)
	for _, name := range []string{"lost", "deleted"} { // While no virtual node sees it.
		pod := cloudPod(t, cloud, get(t, ns, name))
		err := cloud.Client.DeletePod(t.Context(), cloudtest.Namespace, pod.Name, cci.DeleteOptions{GraceSeconds: new(int64)})
		require.NoError(t, err)
	}
	awaitCloudPods(t, cloud, 0)
	remove(t, ns, "deleted")
	start(t, v.again(t))
	awaitGone(t, ns, "deleted")
	pod := await(t, ns, "lost", hasReason(provider.ReasonLost))
	assert.Equal(t, corev1.PodFailed, pod.Status.Phase)
}

// Subnets can be added to the network while Pods run in it.
func TestSubnetsAreAddedToALiveNetwork(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud)
	create(t, ns, podOn(v.name(), "stays"))
	await(t, ns, "stays", isReady)
	v.stop(t)
	config := v.again(t)
	config.CCI.SubnetIDs = append(config.CCI.SubnetIDs, "more")
	start(t, config)
	eventually(t, func() error {
		networks, err := cloud.Client.ListNetworks(t.Context(), cloudtest.Namespace)
		if err == nil && (len(networks) != 1 || len(networks[0].Spec.Subnets) != 2) {
			err = assert.AnError
		}
		return err
	})
	assert.NoError(t, isReady(get(t, ns, "stays")))
	create(t, ns, podOn(v.name(), "new"))
	await(t, ns, "new", isReady)
}
