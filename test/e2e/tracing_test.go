package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/internal/tracing/tracingtest"
	"github.com/spillway-k8s/spillway/test/stories"
	"github.com/spillway-k8s/spillway/test/system"
)

// With a collector, the way of a Pod is one trace: through admission and the extender to the call that creates its
// cloud Pod.
func TestTheWayOfAPodToTheCloudIsOneTrace(t *testing.T) {
	t.Parallel()
	collector := tracingtest.Start(t)
	world, _ := newWorld(t, system.Shape{LocalNodes: 1, LocalCPU: "4", LocalMemory: "8Gi", VirtualNodes: 1},
		func(c *system.Config) {
			c.Environment = []string{
				"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.Endpoint, "OTEL_BSP_SCHEDULE_DELAY=200",
			}
		})
	require.NoError(t, world.Play(t.Context(), stories.All()[0]))
	assert.EventuallyWithT(t, func(c *assert.CollectT) {
		traces := map[string][]string{}
		for _, span := range collector.Spans() {
			id := fmt.Sprintf("%x", span.TraceId)
			traces[id] = append(traces[id], span.Program+" "+strings.TrimSpace(span.Name))
		}
		var whole []string
		for id, spans := range traces {
			if containsAll(spans, "spillway-admission admission: prepare Pod", "spillway-extender extender: filter",
				"spillway-vnode vnode: create cloud Pod", "spillway-vnode cloud: CreatePod") {
				whole = append(whole, id)
			}
		}
		assert.NotEmpty(c, whole, "%v", traces)
	}, 30*time.Second, 100*time.Millisecond)
}

func containsAll(list []string, wanted ...string) bool {
	return !slices.ContainsFunc(wanted, func(w string) bool { return !slices.Contains(list, w) })
}
