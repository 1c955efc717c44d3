package nodeconditions

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

func TestConditionsAreMetrics(t *testing.T) {
	tracker := NewTracker(time.Now)
	tracker.Note("listPods", &cci.Error{Kind: cci.Throttled, Status: 429})
	const head = `
# HELP spillway_vnode_node_condition Is 1 while a condition of the Node holds, 0 otherwise, by condition: ` +
		`CloudDenied, CloudThrottled, CloudUnavailable, CloudUnusable and FeaturesMissing.
# TYPE spillway_vnode_node_condition gauge
spillway_vnode_node_condition{condition="CloudDenied"} 0
spillway_vnode_node_condition{condition="CloudThrottled"} 1
spillway_vnode_node_condition{condition="CloudUnavailable"} 0
spillway_vnode_node_condition{condition="FeaturesMissing"} 0
`
	require.NoError(t, testutil.CollectAndCompare(tracker, strings.NewReader(head)))
	tracker.NoteCloudNamespace(errors.New("the network has failed"))
	require.NoError(t, testutil.CollectAndCompare(tracker, strings.NewReader(
		head+"spillway_vnode_node_condition{condition=\"CloudUnusable\"} 1\n")))
}
