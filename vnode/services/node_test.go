package services

import (
	"net"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// listServices lists the Services.
func listServices(t *testing.T, client kubernetes.Interface) error {
	t.Helper()
	_, err := client.CoreV1().Services("").List(t.Context(), metav1.ListOptions{})
	return err
}

// open opens a stream of the changes from now on.
func open(t *testing.T, client kubernetes.Interface) watch.Interface {
	t.Helper()
	no := false
	stream, err := client.CoreV1().Services("").Watch(t.Context(), metav1.ListOptions{
		SendInitialEvents: &no, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	})
	require.NoError(t, err)
	t.Cleanup(stream.Stop)
	return stream
}

// ended waits until a stream has ended.
func ended(t *testing.T, stream watch.Interface) {
	t.Helper()
	require.Eventually(t, func() bool {
		select {
		case _, more := <-stream.ResultChan():
			return !more
		default:
			return false
		}
	}, timeout, tick)
}

func TestOnlyPodsOnTheNodesOfTheProcessAreServed(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("shop", "cart-0")
	require.NoError(t, listServices(t, w.client(pod)))
	refused := func(cause string) float64 {
		return testutil.ToFloat64(w.server.metrics.refused.WithLabelValues(cause))
	}
	for name, change := range map[string]func(*corev1.Pod){
		"a Pod that is not there":         func(p *corev1.Pod) { p.Name = "cart-1" },
		"a former Pod of the same name":   func(p *corev1.Pod) { p.UID = "former" },
		"a Pod of another namespace":      func(p *corev1.Pod) { p.Namespace = "other" },
		"a Pod on a node that is unnamed": func(p *corev1.Pod) { p.Namespace, p.Spec.NodeName = "", nodeName },
	} {
		t.Run(name, func(t *testing.T) {
			foreign := pod.DeepCopy()
			change(foreign)
			err := listServices(t, w.client(foreign))
			assert.True(t, apierrors.IsUnauthorized(err), err)
		})
	}
	assert.Equal(t, 4.0, refused(causeToken))
	w.server.mu.RLock()
	clients := len(w.server.nodes[nodeName].clients)
	w.server.mu.RUnlock()
	assert.Equal(t, 1, clients, "nothing is kept of the others")

	elsewhere := pod.DeepCopy()
	elsewhere.Spec.NodeName = "virtual-node-cci-1"
	err := listServices(t, w.client(elsewhere))
	require.True(t, apierrors.IsServiceUnavailable(err), err)
	assert.ErrorContains(t, err, "node virtual-node-cci-1 does not run in this process")
	_, wait := apierrors.SuggestsClientDelay(err)
	assert.False(t, wait, "the client tries the next address at once")
	assert.Equal(t, 1.0, refused(causeElsewhere))

	forged := w.connection(pod)
	forged.BearerToken = Key("another key of thirty-two bytes.").Token(PodOf(pod))
	client, err := kubernetes.NewForConfig(forged)
	require.NoError(t, err)
	assert.True(t, apierrors.IsUnauthorized(listServices(t, client)))
	forged.BearerToken = ""
	client, err = kubernetes.NewForConfig(forged)
	require.NoError(t, err)
	assert.True(t, apierrors.IsUnauthorized(listServices(t, client)))
}

func TestTheStreamsOfAPodEndWithIt(t *testing.T) {
	for name, end := range map[string]func(*world, *corev1.Pod){
		"it is deleted": func(w *world, pod *corev1.Pod) { w.pods.Delete(pod) },
		"it has finished": func(w *world, pod *corev1.Pod) {
			pod = pod.DeepCopy()
			pod.Status.Phase = corev1.PodSucceeded
			w.pods.Modify(pod)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			pod, other := w.pod("shop", "cart-0"), w.pod("shop", "cart-1")
			client := w.client(pod)
			stream, goesOn := open(t, client), open(t, w.client(other))
			end(w, pod)
			ended(t, stream)
			err := listServices(t, client)
			require.True(t, apierrors.IsUnauthorized(err), err)
			w.put(w.service("shop", "cart"))
			assert.Equal(t, watch.Added, (<-goesOn.ResultChan()).Type)
		})
	}
}

// Behind a load balancer the next connection may reach the process that runs the node.
func TestAConnectionThatReachesAnotherProcessIsClosed(t *testing.T) {
	w := newWorld(t)
	network := &network{}
	elsewhere := w.pod("shop", "cart-0").DeepCopy()
	elsewhere.Spec.NodeName = "virtual-node-cci-1"
	client := w.clientOn(network, elsewhere)
	for connections := range 3 {
		require.True(t, apierrors.IsServiceUnavailable(listServices(t, client)))
		network.mu.Lock()
		assert.Len(t, network.connections, connections+1)
		network.mu.Unlock()
	}
}

func TestTheStreamsOfANodeEndWhenAnotherProcessTakesIt(t *testing.T) {
	w := newWorld(t)
	client := w.client(w.pod("shop", "cart-0"))
	stream := open(t, client)
	w.leave()
	ended(t, stream)
	require.Eventually(t, func() bool { return apierrors.IsServiceUnavailable(listServices(t, client)) }, timeout, tick)
	w.leave = w.runNode(t.Context())
	require.NoError(t, listServices(t, client), "the token is valid in every term of the node")
}

func TestStreamsEndWhenTheServerStops(t *testing.T) {
	w := newWorld(t)
	stream := open(t, w.client(w.pod("shop", "cart-0")))
	w.stop()
	ended(t, stream)
	w.done.Wait()
}

// A connection that has broken silently is noticed late. Its streams must not keep out the new ones.
func TestThePodsNewestStreamsCount(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("shop", "cart-0")
	var streams []watch.Interface
	for range 2 * maxStreams {
		streams = append(streams, open(t, w.client(pod)))
	}
	for _, stream := range streams[:maxStreams] {
		ended(t, stream)
	}
	w.put(w.service("shop", "cart"))
	for _, stream := range streams[maxStreams:] {
		assert.Equal(t, watch.Added, (<-stream.ResultChan()).Type)
	}
	w.open(maxStreams)
}

// Each list of all objects is compressed for its client.
func TestAPodThatAsksForEverythingAgainAndAgainWaits(t *testing.T) {
	w := newWorld(t)
	client := w.client(w.pod("shop", "cart-0"))
	var refused error
	lists := 0
	for ; refused == nil && lists < requestBurst; lists++ {
		refused = client.CoreV1().RESTClient().Get().MaxRetries(0).AbsPath(pathServices).Do(t.Context()).Error()
	}
	require.True(t, apierrors.IsTooManyRequests(refused), refused)
	assert.Greater(t, lists, requestBurst/costOfAll, "some are allowed at once")
	require.NoError(t, listServices(t, w.client(w.pod("shop", "cart-1"))), "others do not wait")
}

func TestAPodThatAsksTooOftenWaits(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("shop", "cart-0")
	connection := w.connection(pod)
	client, err := kubernetes.NewForConfig(connection)
	require.NoError(t, err)
	var refused error
	for range 10 * requestBurst {
		// One attempt: the client would wait and repeat the request.
		result := client.CoreV1().RESTClient().Get().MaxRetries(0).AbsPath(pathNodes + "/" + nodeName).Do(t.Context())
		if refused = result.Error(); refused != nil {
			break
		}
	}
	require.True(t, apierrors.IsTooManyRequests(refused), refused)
	require.NoError(t, listServices(t, w.client(w.pod("shop", "cart-1"))), "others do not wait")
}

// Who has no token can still connect. He must not keep others from it.
func TestAFloodOfConnectionsKeepsNoPodOut(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Pods = 3 })
	served := open(t, w.client(w.pod("shop", "cart-0")))
	limits := limitsFor(3)
	for range 3 * limits.Connections {
		conn, err := net.Dial("tcp", w.server.config.Address)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
	}
	require.NoError(t, listServices(t, w.client(w.pod("shop", "cart-1"))), "a Pod that comes is served")
	w.put(w.service("shop", "later"))
	assert.Equal(t, watch.Added, (<-served.ResultChan()).Type, "the stream is still there")
}
