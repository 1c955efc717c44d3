package cci_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

func TestPodEvents(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t, cloudtest.EveryAPI,
		func(c *ccisim.Config) { c.Policies.SilentConditions = true })
	cloud.Fault(t, ccisim.Fault{Kind: ccisim.SoldOut, Path: "web$"})
	created, err := cloud.Client.CreatePod(t.Context(), cloudtest.Namespace, pod("web"))
	require.NoError(t, err)
	_, err = cloud.Client.CreatePod(t.Context(), cloudtest.Namespace, pod("other"))
	require.NoError(t, err)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		events, err := cloud.Client.PodEvents(t.Context(), cloudtest.Namespace, "web", created.UID)
		require.NoError(c, err)
		require.Len(c, events, 1)
		assert.Equal(c, "FailedScheduling", events[0].Reason)
		others, err := cloud.Client.PodEvents(t.Context(), cloudtest.Namespace, "other", "another")
		require.NoError(c, err)
		assert.Empty(c, others, "Events of an earlier Pod of the same name are left out")
	}, cloudtest.Timeout, cloudtest.Tick)
	found, err := cloud.Client.GetPod(t.Context(), cloudtest.Namespace, "web")
	require.NoError(t, err)
	assert.Empty(t, found.Status.Conditions)

	cloud.Behave(t, func(p *ccisim.Policies) { p.Events = ccisim.EventsAbsent })
	_, err = cloud.Client.PodEvents(t.Context(), cloudtest.Namespace, "web", created.UID)
	assert.True(t, cci.IsNotOffered(err), "a region may have no Events: %v", err)
}
