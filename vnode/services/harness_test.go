package services

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	fcache "k8s.io/client-go/tools/cache/testing"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
)

const (
	timeout  = time.Minute
	tick     = 5 * time.Millisecond
	nodeName = "virtual-node-cci-0"
)

// world is a server that runs, with a virtual node, and the cluster that it follows.
type world struct {
	testing.TB
	server *Server
	// pods are the Pods on the node, nodes has its Node.
	pods, nodes *fcache.FakeControllerSource
	// leave ends the node, stop the server.
	leave, stop context.CancelFunc
	done        sync.WaitGroup

	// heap is the memory of the server before it has clients.
	heap int64

	mu sync.Mutex
	// version is the resource version of the cluster.
	version uint64
}

// newWorld returns a world in which the server knows what the cluster has: the Service kubernetes.
func newWorld(t testing.TB, change ...func(*Config)) *world {
	t.Helper()
	w := newCluster(t, change...)
	w.follow(w.service("default", "kubernetes"))
	w.run()
	return w
}

// newCluster returns a world whose server does not run.
func newCluster(t testing.TB, change ...func(*Config)) *world {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	config := Config{
		Address: listener.Addr().String(), Own: listener.Addr().String(), Namespaces: []string{AllNamespaces},
		Namespace: "spillway-system", Pods: 100, Client: fake.NewClientset(), Registerer: prometheus.NewRegistry(),
		Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
	for _, change := range change {
		change(&config)
	}
	server, err := New(config)
	require.NoError(t, err)
	return &world{
		TB: t, server: server, version: 100,
		pods: fcache.NewFakeControllerSource(), nodes: fcache.NewFakeControllerSource(),
	}
}

// follow gives the server a list of Services, and of no EndpointSlices.
func (w *world) follow(services ...any) {
	w.Helper()
	version := strconv.FormatUint(w.next(), 10)
	require.NoError(w, w.server.services.resources.Replace(services, version))
	require.NoError(w, w.server.slices.resources.Replace(nil, version))
}

// run runs the server and its node until the test ends.
func (w *world) run() {
	w.Helper()
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	w.nodes.Add(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: nodeName, Labels: map[string]string{corev1.LabelTopologyZone: "a"}},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.9"}}},
	})
	w.done.Go(func() { assert.NoError(w, w.server.serve(ctx)) })
	w.leave = w.runNode(ctx)
	w.Cleanup(func() {
		stop()
		w.done.Wait()
	})
	require.Eventually(w, func() bool { return w.server.Ready() == nil }, timeout, tick)
	conn, err := net.Dial("tcp", w.server.config.Address)
	require.NoError(w, err, "a server that is ready listens")
	require.NoError(w, conn.Close())
}

// runNode runs the node until ctx ends or the returned function is called.
func (w *world) runNode(ctx context.Context) context.CancelFunc {
	w.Helper()
	ctx, leave := context.WithCancel(ctx)
	pods := cache.NewSharedInformer(w.pods, &corev1.Pod{}, 0)
	nodes := cache.NewSharedInformer(w.nodes, &corev1.Node{}, 0)
	w.done.Go(func() { pods.RunWithContext(ctx) })
	w.done.Go(func() { nodes.RunWithContext(ctx) })
	w.done.Go(func() {
		assert.NoError(w, w.server.RunNode(ctx, Node{Name: nodeName, Pods: pods, Nodes: nodes}))
	})
	require.Eventually(w, func() bool {
		w.server.mu.RLock()
		defer w.server.mu.RUnlock()
		n := w.server.nodes[nodeName]
		return n != nil && n.ready()
	}, timeout, tick)
	return leave
}

// next returns the next resource version of the cluster.
func (w *world) next() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.version++
	return w.version
}

// pod runs a Pod on the node, and waits until the server knows it.
func (w *world) pod(namespace, name string) *corev1.Pod {
	w.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-of-" + name)},
		Spec:       corev1.PodSpec{NodeName: nodeName},
	}
	w.pods.Add(pod)
	require.Eventually(w, func() bool {
		w.server.mu.RLock()
		defer w.server.mu.RUnlock()
		return w.server.nodes[nodeName].has(PodOf(pod))
	}, timeout, tick)
	return pod
}

// connection returns the connection of the proxy in a Pod.
func (w *world) connection(pod *corev1.Pod) *rest.Config {
	w.Helper()
	kubeconfig, err := w.server.Kubeconfig(pod)
	require.NoError(w, err)
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	require.NoError(w, err)
	config.QPS, config.Burst = -1, -1
	return config
}

// client returns the client of the proxy in a Pod.
func (w *world) client(pod *corev1.Pod) *kubernetes.Clientset {
	w.Helper()
	client, err := kubernetes.NewForConfig(w.connection(pod))
	require.NoError(w, err)
	return client
}

// service returns a new version of a Service.
func (w *world) service(namespace, name string, change ...func(*corev1.Service)) *corev1.Service {
	version := w.next()
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, UID: types.UID("uid-of-" + name),
			ResourceVersion: strconv.FormatUint(version, 10),
			ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
		},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: fmt.Sprintf("10.96.%d.%d", version/250%250, version%250),
			Ports: []corev1.ServicePort{{Name: "http", Port: int32(version%65000) + 1, Protocol: corev1.ProtocolTCP}},
		},
	}
	for _, change := range change {
		change(service)
	}
	return service
}

// slice returns a new version of an EndpointSlice of a Service, with some endpoints.
func (w *world) slice(namespace, service, name string, endpoints int) *discoveryv1.EndpointSlice {
	version := w.next()
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, ResourceVersion: strconv.FormatUint(version, 10),
			Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To(int32(8080))}},
	}
	for i := range endpoints {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("10.1.%d.%d", i/250, i%250)},
			Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}, NodeName: ptr.To("node-1"), Zone: ptr.To("a"),
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: fmt.Sprintf("%s-%d", name, i)},
		})
	}
	return slice
}

// put changes a Service or an EndpointSlice in the cluster, remove deletes it.
func (w *world) put(object any) {
	w.Helper()
	require.NoError(w, w.of(object).Update(object))
}

func (w *world) remove(object any) {
	w.Helper()
	meta, ok := object.(metav1.Object)
	require.True(w, ok)
	meta.SetResourceVersion(strconv.FormatUint(w.next(), 10))
	require.NoError(w, w.of(object).Delete(object))
}

func (w *world) of(object any) *resources {
	if _, ok := object.(*discoveryv1.EndpointSlice); ok {
		return w.server.slices.resources
	}
	return w.server.services.resources
}
