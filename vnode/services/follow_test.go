package services

import (
	"context"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

// split is a cluster whose Services are those of a server, and whose Secrets are those of another cluster.
type split struct {
	kubernetes.Interface
	secrets kubernetes.Interface
}

type splitCore struct {
	corev1client.CoreV1Interface
	secrets corev1client.SecretsGetter
}

func (s split) CoreV1() corev1client.CoreV1Interface {
	return splitCore{s.Interface.CoreV1(), s.secrets.CoreV1()}
}

func (c splitCore) Secrets(namespace string) corev1client.SecretInterface {
	return c.secrets.Secrets(namespace)
}

// A server follows another one as it follows an API server, and shows the same.
func TestAServerFollowsTheCluster(t *testing.T) {
	cluster := newWorld(t)
	cluster.put(cluster.slice("default", "kubernetes", "kubernetes", 1))
	w := newCluster(t, func(c *Config) {
		c.Client = split{cluster.client(cluster.pod("kube-system", "vnode")), fake.NewClientset()}
	})
	ctx, stop := context.WithCancel(context.Background())
	w.done.Go(func() { assert.NoError(t, w.server.Run(ctx)) })
	t.Cleanup(func() {
		stop()
		w.done.Wait()
	})
	w.runNode(ctx)
	require.Eventually(t, func() bool { return w.server.Ready() == nil }, timeout, tick)
	client := w.client(w.pod("shop", "cart-0"))
	services := w.services(client)
	cart := cluster.service("shop", "cart")
	cluster.put(cart.DeepCopy())
	w.eventually(services, cart)
	assert.Equal(t, []string{"default/kubernetes", "shop/cart"}, services.names())
	assert.NoError(t, testutil.GatherAndCompare(w.server.config.Registerer.(prometheus.Gatherer), strings.NewReader(`
# HELP spillway_vnode_services_objects Objects of the cluster that the server of Services has, by kind.
# TYPE spillway_vnode_services_objects gauge
spillway_vnode_services_objects{kind="EndpointSlice"} 1
spillway_vnode_services_objects{kind="Service"} 2
`), "spillway_vnode_services_objects"))
	assert.Greater(t, testutil.ToFloat64(w.server.metrics.bytes.WithLabelValues("Service")), 100.0)
}

// A process that is ready too early would let a rolling update end the one that serves.
func TestAServerIsReadyOnceItCanServePods(t *testing.T) {
	w := newCluster(t)
	s := w.server
	become := []struct {
		missing string
		step    func()
	}{
		{"the keys of the server of Services are not known: see Secret spillway-services in namespace spillway-system",
			func() { require.NoError(t, s.readSecret(t.Context())) }},
		{"the Service objects of the cluster are not known", func() {
			require.NoError(t, s.services.resources.Replace([]any{w.service("default", "kubernetes")}, "101"))
		}},
		{"the EndpointSlice objects of the cluster are not known", func() {
			require.NoError(t, s.slices.resources.Replace(nil, "101"))
		}},
		{"the server of Services does not listen on " + s.config.Address, func() { s.port.Listening() }},
	}
	for _, next := range become {
		require.ErrorContains(t, s.Ready(), next.missing)
		next.step()
	}
	require.NoError(t, s.Ready())
}

func TestAServerThatServesNoPodIsReady(t *testing.T) {
	assert.NoError(t, newCluster(t, func(c *Config) { c.Address = "" }).server.Ready())
}

func TestTheConfigurationMustBeComplete(t *testing.T) {
	_, err := New(Config{})
	require.ErrorContains(t, err, "creating the server of Services: all fields")
	w := newCluster(t)
	_, err = New(w.server.config)
	assert.ErrorContains(t, err, "registering the metrics of the server of Services")
}
