package state

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/proxy/proxytest"
	"github.com/spillway-k8s/spillway/proxy/servers"
)

const soon = time.Minute

// follow runs the reflectors of a State with servers until the end of the test.
func follow(t *testing.T, kubeconfig string) (*recorder, *servers.Servers) {
	t.Helper()
	r := record()
	transport := servers.New(kubeconfig, func() []netip.AddrPort { return nil }, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx, &http.Client{Transport: transport}) }()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-ended)
	})
	return r, transport
}

func TestTheStateFollowsTheStream(t *testing.T) {
	cluster := proxytest.NewCluster()
	cluster.Put(proxytest.Service("shop/cart", onePort...), proxytest.Slice("a", "shop/cart", onePort, "10.0.0.1"))
	server := cluster.Start(t)
	r, _ := follow(t, proxytest.Kubeconfig(t, proxytest.Token, server))
	require.Eventually(t, func() bool { return r.Missing() == nil }, soon, time.Millisecond)
	assert.Equal(t, []string{"10.0.0.1:8080"}, r.usable("cart"))
	for _, request := range server.Requests() {
		assert.Contains(t, request, "sendInitialEvents=true", "the lists are streams")
	}

	cluster.Put(proxytest.Slice("a", "shop/cart", onePort, "10.0.0.2"), proxytest.Service("shop/web", onePort...))
	require.Eventually(t, func() bool {
		return r.Get("shop", "web") != nil && assert.ObjectsAreEqual([]string{"10.0.0.2:8080"}, r.usable("cart"))
	}, soon, time.Millisecond)
	cluster.Delete(proxytest.Service("shop/cart"))
	require.Eventually(t, func() bool { return r.Get("shop", "cart") == nil }, soon, time.Millisecond)
}

func TestACutStreamKeepsTheState(t *testing.T) {
	cluster := proxytest.NewCluster()
	cluster.Put(proxytest.Service("shop/cart", onePort...), proxytest.Slice("a", "shop/cart", onePort, "10.0.0.1"))
	server := cluster.Start(t)
	r, transport := follow(t, proxytest.Kubeconfig(t, proxytest.Token, server))
	require.Eventually(t, func() bool { return r.Missing() == nil && server.Streams() == 2 }, soon, time.Millisecond)
	// A reflector resumes a stream only if something has come on it, or if it was open for a second.
	cluster.Put(proxytest.Service("shop/web"), proxytest.Slice("web", "shop/web", onePort))
	require.Eventually(t, func() bool { return r.Get("shop", "web") != nil && r.hasSlice("web") }, soon, time.Millisecond)

	server.Refuse(http.StatusServiceUnavailable)
	server.Cut()
	require.Eventually(t, func() bool { return transport.Failure() != nil }, soon, time.Millisecond)
	assert.ErrorContains(t, transport.Failure(), "503 Service Unavailable: this server is told to refuse")
	assert.Equal(t, []string{"10.0.0.1:8080"}, r.usable("cart"))
	lists := len(server.Requests())

	cluster.Put(proxytest.Slice("a", "shop/cart", onePort, "10.0.0.2"))
	server.Refuse(0)
	require.Eventually(t, func() bool {
		return assert.ObjectsAreEqual([]string{"10.0.0.2:8080"}, r.usable("cart"))
	}, soon, time.Millisecond)
	for _, request := range server.Requests()[lists:] {
		assert.NotContains(t, request, "sendInitialEvents", "the stream resumes where it was cut")
		assert.Contains(t, request, "resourceVersion=10")
	}
	require.Eventually(t, func() bool { return transport.Failure() == nil }, soon, time.Millisecond)
}

func TestAStreamThatIsTooOldListsAgain(t *testing.T) {
	cluster := proxytest.NewCluster()
	cluster.Put(proxytest.Service("shop/old", onePort...), proxytest.Service("shop/cart", onePort...))
	server := cluster.Start(t)
	r, transport := follow(t, proxytest.Kubeconfig(t, proxytest.Token, server))
	require.Eventually(t, func() bool { return r.Missing() == nil && server.Streams() == 2 }, soon, time.Millisecond)
	server.Refuse(http.StatusServiceUnavailable)
	server.Cut()
	require.Eventually(t, func() bool { return transport.Failure() != nil }, soon, time.Millisecond)
	cluster.Delete(proxytest.Service("shop/old"))
	cluster.Put(proxytest.Service("shop/new", onePort...))
	cluster.Forget()
	server.Refuse(0)
	require.Eventually(t, func() bool {
		return r.Get("shop", "new") != nil && r.Get("shop", "old") == nil && r.Get("shop", "cart") != nil
	}, soon, time.Millisecond)
}

func TestAServerThatCannotStreamListsIsListed(t *testing.T) {
	cluster := proxytest.NewCluster()
	cluster.Put(proxytest.Service("shop/cart", onePort...), proxytest.Slice("a", "shop/cart", onePort, "10.0.0.1"))
	server := cluster.Start(t)
	server.RefuseStreamedLists()
	r, _ := follow(t, proxytest.Kubeconfig(t, proxytest.Token, server))
	require.Eventually(t, func() bool { return r.Missing() == nil && server.Streams() == 2 }, soon, time.Millisecond)
	assert.Equal(t, []string{"10.0.0.1:8080"}, r.usable("cart"))
}
