package cci_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

func TestTheRateFollowsWhatTheCloudTakes(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	config := cloud.Config()
	registry := prometheus.NewRegistry()
	config.QPS, config.MaxQPS, config.Burst, config.Registerer = 100, 400, 1, registry
	client := cloudtest.NewClient(t, config)
	limit := func() float64 {
		families, err := registry.Gather()
		require.NoError(t, err)
		for _, family := range families {
			if family.GetName() == "spillway_vnode_cloud_rate_limit" {
				return family.GetMetric()[0].GetGauge().GetValue()
			}
		}
		return 0
	}
	assert.InDelta(t, 100, limit(), 0)
	for range 30 {
		_, err := client.GetNamespace(t.Context(), cloudtest.Namespace)
		require.NoError(t, err)
	}
	grown := limit()
	assert.Greater(t, grown, 100.0, "requests waited, and the cloud took all of them")
	cloud.Fault(t, ccisim.Fault{Kind: ccisim.Throttle, Verb: "create", Times: 1})
	_, err := client.CreatePod(t.Context(), cloudtest.Namespace, pod("web"))
	require.True(t, cci.IsThrottled(err), "%v", err)
	assert.InDelta(t, grown*0.7, limit(), 0.001)
	cloud.Fault(t, ccisim.Fault{Kind: ccisim.ServerError, Verb: "create", Status: 503, Times: 1})
	_, err = client.CreatePod(t.Context(), cloudtest.Namespace, pod("web"))
	require.True(t, cci.IsTransient(err), "%v", err)
	assert.InDelta(t, grown*0.7, limit(), 0.001, "an outage says nothing about the rate")
	cloud.Fault(t, ccisim.Fault{
		Kind: ccisim.ServerError, Verb: "create", Status: 503, RetryAfterSeconds: 1, Times: 1,
	})
	_, err = client.CreatePod(t.Context(), cloudtest.Namespace, pod("web"))
	require.True(t, cci.IsTransient(err), "%v", err)
	assert.InDelta(t, grown*0.7*0.7, limit(), 0.001, "a service that says when to come back sheds load")
}
