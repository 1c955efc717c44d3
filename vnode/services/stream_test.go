package services

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
)

// network is the network between a client and the server. It can be cut.
type network struct {
	// mu is held while the network is down.
	mu          sync.Mutex
	connections []net.Conn
}

func (n *network) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	conn, err := (&net.Dialer{}).DialContext(ctx, kind, address)
	if err == nil {
		n.connections = append(n.connections, conn)
	}
	return conn, err
}

// cut closes all connections. New ones wait until the returned function is called.
func (n *network) cut() (restore func()) {
	n.mu.Lock()
	for _, conn := range n.connections {
		_ = conn.Close()
	}
	n.connections = nil
	return n.mu.Unlock
}

func (w *world) clientOn(n *network, pod *corev1.Pod) *kubernetes.Clientset {
	w.Helper()
	connection := w.connection(pod)
	connection.Dial = n.dial
	client, err := kubernetes.NewForConfig(connection)
	require.NoError(w, err)
	return client
}

// sent returns how many events of Services were sent.
func (w *world) sent() float64 {
	return testutil.ToFloat64(w.server.metrics.events.WithLabelValues(kindService.name))
}

func (w *world) cutOff(cause string) float64 {
	return testutil.ToFloat64(w.server.metrics.cutOff.WithLabelValues(cause))
}

func TestAClientGoesOnAfterItsConnectionWasCut(t *testing.T) {
	w := newWorld(t)
	network := &network{}
	services := w.services(w.clientOn(network, w.pod("shop", "cart-0")))
	first := w.service("shop", "first")
	w.put(first.DeepCopy())
	w.eventually(services, first)
	restore := network.cut()
	w.open(0)
	sent := w.sent()
	missed, gone := w.service("shop", "missed"), w.service("shop", "first")
	w.put(missed.DeepCopy())
	w.remove(gone)
	restore()
	w.eventually(services, missed)
	require.Eventually(t, func() bool {
		return slices.Equal(services.names(), []string{"default/kubernetes", "shop/missed"})
	}, timeout, tick)
	assert.Equal(t, sent+2, w.sent(), "it gets what it has missed only")
}

func TestAClientThatComesTooLateGetsEverythingAgain(t *testing.T) {
	w := newWorld(t)
	network := &network{}
	services := w.services(w.clientOn(network, w.pod("shop", "cart-0")))
	first := w.service("shop", "first")
	w.put(first.DeepCopy())
	w.eventually(services, first)
	restore := network.cut()
	w.remove(first)
	var last *corev1.Service
	for range maxEvents {
		last = w.service("shop", "busy")
		w.put(last.DeepCopy())
	}
	restore()
	w.eventually(services, last)
	assert.Equal(t, []string{"default/kubernetes", "shop/busy"}, services.names())
}

// The server's own watch fails, and it lists again. The streams go on.
func TestAListOfTheClusterBecomesEvents(t *testing.T) {
	w := newWorld(t)
	services := w.services(w.client(w.pod("shop", "cart-0")))
	old := w.service("shop", "old")
	w.put(old.DeepCopy())
	w.eventually(services, old)
	sent := w.sent()
	w.follow(w.service("default", "kubernetes"), w.service("shop", "new"))
	require.Eventually(t, func() bool { return services()["shop/new"] != nil }, timeout, tick)
	assert.Equal(t, []string{"default/kubernetes", "shop/new"}, services.names())
	require.Eventually(t, func() bool { return w.sent() == sent+4 }, timeout, tick, "3 changes and a bookmark")
}

func TestAClusterThatWasRestoredIsShownAsItIs(t *testing.T) {
	w := newWorld(t)
	w.put(w.service("shop", "lost"))
	services := w.services(w.client(w.pod("shop", "cart-0")))
	require.Contains(t, services.names(), "shop/lost")
	w.version = 50
	w.follow(w.service("default", "kubernetes"))
	require.Eventually(t, func() bool { return len(services()) == 1 }, timeout, tick)
	after := w.service("shop", "after")
	w.put(after.DeepCopy())
	w.eventually(services, after)
	assert.Equal(t, 1.0, w.cutOff(causeLost))
}

func TestAVersionThatTheServerDoesNotKnowYetIsAwaited(t *testing.T) {
	w := newWorld(t)
	client := w.client(w.pod("shop", "cart-0"))
	soon := fmt.Sprint(w.version + 1)
	began := time.Now()
	_, err := client.CoreV1().Services("").List(t.Context(), metav1.ListOptions{ResourceVersion: soon})
	require.True(t, apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge), err)
	assert.GreaterOrEqual(t, time.Since(began), versionWait)
	_, err = client.CoreV1().Services("").Watch(t.Context(), metav1.ListOptions{ResourceVersion: soon})
	require.True(t, apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge), err)
	time.AfterFunc(100*time.Millisecond, func() { w.put(w.service("shop", "cart")) })
	list, err := client.CoreV1().Services("").List(t.Context(), metav1.ListOptions{ResourceVersion: soon})
	require.NoError(t, err)
	assert.Len(t, list.Items, 2)
}

// raw opens a stream of Services that is not read yet.
func (w *world) raw(pod *corev1.Pod) io.Reader {
	w.Helper()
	keys := w.server.secret.Load()
	authorities := x509.NewCertPool()
	authorities.AddCert(keys.ca)
	transport := &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: authorities, ServerName: ServerName},
	}
	w.Cleanup(transport.CloseIdleConnections)
	body, err := openStream(&http.Client{Transport: transport}, "https://"+w.server.config.Address+loadQueries[0],
		keys.key.Token(PodOf(pod)))
	require.NoError(w, err)
	return body
}

// noise returns text that cannot be compressed well.
var noise = sync.OnceValue(func() string {
	bytes := make([]byte, 48<<10)
	for i := range bytes {
		bytes[i] = byte(rand.Uint32())
	}
	return base64.StdEncoding.EncodeToString(bytes)
})

// open waits until the clients have some open streams of Services.
func (w *world) open(streams float64) {
	w.Helper()
	require.Eventually(w, func() bool {
		return testutil.ToFloat64(w.server.metrics.streams.WithLabelValues(kindService.name)) == streams
	}, timeout, tick)
}

// flood changes a large Service so often that a client that does not read blocks its stream.
func (w *world) flood() *corev1.Service {
	w.Helper()
	var last *corev1.Service
	for range 125 {
		last = w.service("shop", "busy", func(s *corev1.Service) {
			s.Annotations = map[string]string{"service.kubernetes.io/x": noise()}
		})
		w.put(last.DeepCopy())
	}
	return last
}

func TestAClientThatDoesNotReadIsCutOffAndDelaysNoOther(t *testing.T) {
	w := newCluster(t)
	w.server.writeLimit = 2 * time.Second
	w.follow(w.service("default", "kubernetes"))
	w.run()
	w.raw(w.pod("shop", "stuck"))
	services := w.services(w.client(w.pod("shop", "cart-0")))
	last := w.flood()
	w.eventually(services, last)
	require.Eventually(t, func() bool { return w.cutOff(causeBlocked) == 1 }, timeout, tick)
	w.open(1)
}

func TestAClientThatIsFarBehindIsCutOff(t *testing.T) {
	w := newWorld(t)
	w.server.writeLimit = timeout
	slow := w.raw(w.pod("shop", "slow"))
	w.flood()
	for range maxLag + batchSize + 1 {
		w.put(w.service("shop", "busy"))
	}
	_, err := io.Copy(io.Discard, slow)
	require.NoError(t, err, "the stream ends, and the client goes on with another one")
	w.open(0)
	assert.Equal(t, 1.0, w.cutOff(causeBehind))
}

func TestAPodSeesTheServicesThatItMay(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Namespaces = []string{"shared"} })
	for _, namespace := range []string{"shop", "shared", "secret", "default", "spillway-system"} {
		w.put(w.service(namespace, "cart"))
		w.put(w.slice(namespace, "cart", "cart-x", 1))
	}
	w.put(w.service("spillway-system", ServiceName))
	w.put(w.slice("spillway-system", ServiceName, "servers-x", 1))
	w.put(w.slice("default", "kubernetes", "kubernetes", 1))
	client := w.client(w.pod("shop", "cart-0"))
	services := w.services(client)
	factory := informers.NewSharedInformerFactory(client, 0)
	slices := w.start(factory, factory.Discovery().V1().EndpointSlices().Informer())
	wantServices := []string{"default/kubernetes", "shared/cart", "shop/cart", "spillway-system/" + ServiceName}
	assert.Equal(t, wantServices, services.names())
	wantSlices := []string{"default/kubernetes", "shared/cart-x", "shop/cart-x", "spillway-system/servers-x"}
	assert.Equal(t, wantSlices, slices.names())
	// Nor does it see changes and lists of what it may not.
	w.put(w.service("secret", "cart"))
	marker := w.service("shop", "marker")
	w.put(marker.DeepCopy())
	w.eventually(services, marker)
	assert.NotContains(t, services.names(), "secret/cart")
	list, err := client.CoreV1().Services("").List(t.Context(),
		metav1.ListOptions{FieldSelector: "metadata.namespace=secret"})
	require.NoError(t, err)
	assert.Empty(t, list.Items)
	other := w.services(w.client(w.pod("secret", "cart-0")))
	assert.Contains(t, other.names(), "secret/cart")
	assert.NotContains(t, other.names(), "shop/cart")
}

func TestAServiceHasThousandsOfEndpoints(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.put(w.slice("shop", "cart", fmt.Sprintf("cart-%d", i), 1000))
	}
	client := w.client(w.pod("shop", "cart-0"))
	list, err := client.DiscoveryV1().EndpointSlices("").List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, list.Items, 5)
	assert.Len(t, list.Items[4].Endpoints, 1000)
	factory := informers.NewSharedInformerFactory(client, 0)
	slices := w.start(factory, factory.Discovery().V1().EndpointSlices().Informer())
	assert.Len(t, slices(), 5)
	changed := w.slice("shop", "cart", "cart-3", 999)
	w.put(changed.DeepCopy())
	w.eventually(slices, changed)
}

func TestATimeoutEndsAStream(t *testing.T) {
	w := newWorld(t)
	client := w.client(w.pod("shop", "cart-0"))
	seconds := int64(1)
	stream, err := client.CoreV1().Services("").Watch(t.Context(), metav1.ListOptions{TimeoutSeconds: &seconds})
	require.NoError(t, err)
	var events int
	for range stream.ResultChan() {
		events++
	}
	assert.Equal(t, 1, events)
	assert.Greater(t, query{}.timeout(), minTimeout-time.Second)
}
