package app

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/spillway-k8s/spillway/internal/logging/loggingtest"
	"github.com/spillway-k8s/spillway/proxy/config"
	"github.com/spillway-k8s/spillway/proxy/dns"
	"github.com/spillway-k8s/spillway/proxy/podtest"
	"github.com/spillway-k8s/spillway/proxy/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// freeAddress returns an address of the loopback interface whose port no program uses.
func freeAddress(t *testing.T, host string) string {
	t.Helper()
	listener, err := net.Listen("tcp4", net.JoinHostPort(host, "0"))
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func portOf(address string) string { return address[strings.LastIndex(address, ":")+1:] }

// pod is a Pod with a proxy.
type pod struct {
	t       *testing.T
	address string
	stop    func()
	ended   chan error
}

func start(t *testing.T, change func(*config.Config)) *pod {
	t.Helper()
	cfg := config.Default()
	cfg.DNSAddress = freeAddress(t, "127.0.0.1")
	change(cfg)
	require.NoError(t, cfg.Validate())
	ctx, stop := context.WithCancel(context.Background())
	p := &pod{t: t, address: cfg.DNSAddress, stop: stop, ended: make(chan error, 1)}
	proxy := New(cfg, slog.New(loggingtest.Handler(t, slog.DiscardHandler)))
	go func() { p.ended <- proxy.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-p.ended)
	})
	return p
}

func (p *pod) waitUntilReady() {
	p.t.Helper()
	ready := func() bool { return dns.Check(p.t.Context(), p.address) == nil }
	require.Eventually(p.t, ready, podtest.Soon, time.Millisecond)
}

// dialer connects as the programs of the Pod do: it resolves names with the proxy.
func (p *pod) dialer() *net.Dialer {
	return &net.Dialer{Timeout: podtest.Soon, Resolver: &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, p.address)
		},
	}}
}

// get returns what a Service answers over HTTP.
func (p *pod) get(host string) (string, error) {
	transport := &http.Transport{DialContext: p.dialer().DialContext, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: podtest.Soon}).Get("http://" + host + "/")
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// web serves HTTP at an address: it says its address.
func web(t *testing.T, address string) {
	t.Helper()
	listener, err := net.Listen("tcp4", address)
	require.NoError(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, address)
	})}
	ended := make(chan error)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		assert.ErrorIs(t, <-ended, http.ErrServerClosed)
	})
}

// shop is a cluster with the Service shop/cart: its name with the port, and the address of its endpoint.
func shop(t *testing.T) (cluster *proxytest.Cluster, cart, endpoint string) {
	t.Helper()
	endpoint = freeAddress(t, "127.0.8.1")
	port := portOf(freeAddress(t, "127.0.0.1"))
	web(t, endpoint)
	cluster = proxytest.NewCluster()
	ports := []string{"http:" + port + ":" + portOf(endpoint)}
	cluster.Put(proxytest.Service("shop/cart", ports...), proxytest.Slice("cart-a", "shop/cart", ports, "127.0.8.1"))
	return cluster, "cart.shop.svc.cluster.local:" + port, endpoint
}

func TestAProgramReachesAServiceByItsName(t *testing.T) {
	cluster, cart, endpoint := shop(t)
	p := start(t, func(c *config.Config) {
		c.Kubeconfig = proxytest.Kubeconfig(t, proxytest.Token, cluster.Start(t))
	})
	p.waitUntilReady()
	answer, err := p.get(cart)
	require.NoError(t, err)
	assert.Equal(t, endpoint, answer)
	_, err = p.get("none.shop.svc.cluster.local")
	require.ErrorContains(t, err, "no such host")

	// What changes in the cluster changes in the Pod.
	moved := "127.0.8.2:" + portOf(endpoint)
	web(t, moved)
	ports := []string{"http:" + portOf(cart) + ":" + portOf(endpoint)}
	cluster.Put(proxytest.Slice("cart-a", "shop/cart", ports, "127.0.8.2"))
	require.Eventually(t, func() bool {
		answer, err := p.get(cart)
		return err == nil && answer == moved
	}, podtest.Soon, time.Millisecond)
	cluster.Delete(proxytest.Service("shop/cart"))
	require.Eventually(t, func() bool {
		_, err := p.get(cart)
		return err != nil && strings.Contains(err.Error(), "no such host")
	}, podtest.Soon, time.Millisecond)
}

func TestThePodWaitsUntilServicesAreKnown(t *testing.T) {
	cluster, cart, endpoint := shop(t)
	server := cluster.Start(t)
	server.Refuse(http.StatusServiceUnavailable)
	p := start(t, func(c *config.Config) { c.Kubeconfig = proxytest.Kubeconfig(t, proxytest.Token, server) })
	require.Eventually(t, func() bool {
		err := dns.Check(t.Context(), p.address)
		return err != nil && strings.Contains(err.Error(), "the first list of Services has not arrived") &&
			strings.Contains(err.Error(), "503 Service Unavailable: this server is told to refuse")
	}, podtest.Soon, time.Millisecond)
	_, err := p.get(cart)
	require.ErrorContains(t, err, "server misbehaving")
	server.Refuse(0)
	p.waitUntilReady()
	answer, err := p.get(cart)
	require.NoError(t, err)
	assert.Equal(t, endpoint, answer)
}

func TestAForeignTokenIsNotReady(t *testing.T) {
	cluster, _, _ := shop(t)
	p := start(t, func(c *config.Config) { c.Kubeconfig = proxytest.Kubeconfig(t, "v1.foreign", cluster.Start(t)) })
	require.Eventually(t, func() bool {
		err := dns.Check(t.Context(), p.address)
		return err != nil && strings.Contains(err.Error(), "401 Unauthorized")
	}, podtest.Soon, time.Millisecond)
}

// The address of the kubeconfig is that of a process which has ended. The slices of the servers tell the others.
func TestServersAreFoundInTheirOwnSlices(t *testing.T) {
	cluster, cart, endpoint := shop(t)
	first, second := cluster.Start(t), cluster.Start(t)
	ports := []string{"services:" + portOf(second.Address())}
	cluster.Put(
		proxytest.Service("spillway-system/services", ports...),
		proxytest.Slice("services-a", "spillway-system/services", ports, "127.0.0.1"),
	)
	p := start(t, func(c *config.Config) {
		c.Kubeconfig = proxytest.Kubeconfig(t, proxytest.Token, first)
		c.ServerService = "spillway-system/services"
	})
	p.waitUntilReady()
	assert.Empty(t, second.Requests())
	first.Stop()
	require.Eventually(t, func() bool { return second.Streams() == 2 }, podtest.Soon, time.Millisecond)
	answer, err := p.get(cart)
	require.NoError(t, err)
	assert.Equal(t, endpoint, answer)
}

func TestAReservedPortLeadsToTheEndpoints(t *testing.T) {
	endpoint := freeAddress(t, "127.0.8.1")
	web(t, endpoint)
	cluster := proxytest.NewCluster()
	ports := []string{"http:" + portOf(endpoint)}
	cluster.Put(proxytest.Service("shop/cart", ports...), proxytest.Slice("cart-a", "shop/cart", ports, "127.0.8.1"))
	p := start(t, func(c *config.Config) {
		c.Kubeconfig = proxytest.Kubeconfig(t, proxytest.Token, cluster.Start(t))
		port, err := strconv.Atoi(portOf(endpoint))
		require.NoError(t, err)
		c.ReservedPorts = []int{port}
	})
	p.waitUntilReady()
	answer, err := p.get("cart.shop.svc.cluster.local:" + portOf(endpoint))
	require.NoError(t, err)
	assert.Equal(t, endpoint, answer)
	found, err := p.dialer().Resolver.LookupHost(t.Context(), "cart.shop.svc.cluster.local")
	require.NoError(t, err)
	assert.Equal(t, []string{"127.0.8.1"}, found)
}

func TestTheEndWaitsForConnections(t *testing.T) {
	endpoint := freeAddress(t, "127.0.8.1")
	listener, err := net.Listen("tcp4", endpoint)
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	cluster := proxytest.NewCluster()
	port := portOf(freeAddress(t, "127.0.0.1"))
	ports := []string{"http:" + port + ":" + portOf(endpoint)}
	cluster.Put(proxytest.Service("shop/cart", ports...), proxytest.Slice("cart-a", "shop/cart", ports, "127.0.8.1"))
	p := start(t, func(c *config.Config) {
		c.Kubeconfig = proxytest.Kubeconfig(t, proxytest.Token, cluster.Start(t))
	})
	p.waitUntilReady()
	client, err := p.dialer().Dial("tcp", "cart.shop.svc.cluster.local:"+port)
	require.NoError(t, err)
	server, err := listener.Accept()
	require.NoError(t, err)
	p.stop()
	require.Eventually(t, func() bool { return dns.Check(t.Context(), p.address) != nil }, podtest.Soon, time.Millisecond)
	sent := rand.String(100)
	_, err = io.WriteString(server, sent)
	require.NoError(t, err)
	require.NoError(t, server.Close())
	received, err := io.ReadAll(client)
	require.NoError(t, err)
	assert.Equal(t, sent, string(received))
	select {
	case <-p.ended:
		t.Fatal("it has not waited for the connection")
	default:
	}
	require.NoError(t, client.Close())
	require.NoError(t, <-p.ended)
	p.ended <- nil
}

func TestAnAddressThatIsTakenEndsTheProxy(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	cfg := config.Default()
	cfg.DNSAddress, cfg.Kubeconfig = taken.Addr().String(), t.TempDir()
	err = New(cfg, slog.New(slog.DiscardHandler)).Run(t.Context())
	require.ErrorContains(t, err, "answering DNS queries at "+taken.Addr().String())
}
