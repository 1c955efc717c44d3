// Package podtest follows the Services of a cluster in memory, as the proxy of a Pod does.
package podtest

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/proxy/endpoints"
	"github.com/spillway-k8s/spillway/proxy/proxytest"
	"github.com/spillway-k8s/spillway/proxy/servers"
	"github.com/spillway-k8s/spillway/proxy/state"
)

// Soon is how long a test waits for what must happen.
const Soon = time.Minute

// Place is where the Pod runs.
var Place = endpoints.Place{Node: "virtual-0", Zone: "zone-a"}

// Follow returns the State of a Pod, which follows a cluster until the end of the test. It has the lists already.
func Follow(t testing.TB, cluster *proxytest.Cluster, changed func(types.NamespacedName)) *state.State {
	t.Helper()
	known := state.New(state.Config{Place: Place, Changed: changed})
	file := proxytest.Kubeconfig(t, proxytest.Token, cluster.Start(t))
	transport := servers.New(file, func() []netip.AddrPort { return nil }, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- known.Run(ctx, &http.Client{Transport: transport}) }()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-ended)
	})
	require.Eventually(t, func() bool { return known.Missing() == nil }, Soon, time.Millisecond)
	return known
}
