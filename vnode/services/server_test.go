package services

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
)

// has is what an informer has, by namespace and name.
type has func() map[string]metav1.Object

func (h has) names() []string { return slices.Sorted(maps.Keys(h())) }

// start runs the informers of a factory, and returns what one of them has.
func (w *world) start(factory informers.SharedInformerFactory, informer cache.SharedIndexInformer) has {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	factory.StartWithContext(ctx)
	w.Cleanup(func() {
		cancel()
		factory.Shutdown()
	})
	require.Eventually(w, informer.HasSynced, timeout, tick)
	return func() map[string]metav1.Object {
		all := map[string]metav1.Object{}
		for _, item := range informer.GetStore().List() {
			key, err := cache.MetaNamespaceKeyFunc(item)
			require.NoError(w, err)
			all[key] = item.(metav1.Object)
		}
		return all
	}
}

// services runs an informer of all Services.
func (w *world) services(client kubernetes.Interface) has {
	w.Helper()
	factory := informers.NewSharedInformerFactory(client, 0)
	return w.start(factory, factory.Core().V1().Services().Informer())
}

// eventually waits until an informer has a version of a Service.
func (w *world) eventually(h has, want metav1.Object) {
	w.Helper()
	require.Eventually(w, func() bool {
		got := h()[want.GetNamespace()+"/"+want.GetName()]
		return got != nil && got.GetResourceVersion() == want.GetResourceVersion()
	}, timeout, tick)
}

func TestAnInformerFollowsTheServices(t *testing.T) {
	w := newWorld(t)
	services := w.services(w.client(w.pod("shop", "cart-0")))
	require.Equal(t, []string{"default/kubernetes"}, services.names())
	cart := w.service("shop", "cart")
	w.put(cart.DeepCopy())
	w.eventually(services, cart)
	cart.ManagedFields = nil
	assert.Equal(t, cart.Spec, services()["shop/cart"].(*corev1.Service).Spec)
	assert.Equal(t, cart.ObjectMeta, services()["shop/cart"].(*corev1.Service).ObjectMeta)
	changed := w.service("shop", "cart")
	w.put(changed.DeepCopy())
	w.eventually(services, changed)
	w.remove(changed)
	require.Eventually(t, func() bool { return len(services()) == 1 }, timeout, tick)
}

// listOnly is a source that has no streaming lists, as clients before Kubernetes 1.35.
type listOnly struct{ cache.ListerWatcher }

func (listOnly) IsWatchListSemanticsUnSupported() bool { return true }

func TestAClientWithoutStreamingListsFollowsTheServices(t *testing.T) {
	w := newWorld(t)
	client := w.client(w.pod("shop", "cart-0"))
	source := listOnly{cache.NewListWatchFromClient(client.CoreV1().RESTClient(), "services", "", fields.Everything())}
	informer := cache.NewSharedInformer(source, &corev1.Service{}, 0)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go informer.RunWithContext(ctx)
	require.Eventually(t, informer.HasSynced, timeout, tick)
	cart := w.service("shop", "cart")
	w.put(cart.DeepCopy())
	require.Eventually(t, func() bool {
		got, ok, err := informer.GetStore().GetByKey("shop/cart")
		return err == nil && ok && got.(*corev1.Service).ResourceVersion == cart.ResourceVersion
	}, timeout, tick)
}

// These are the clients of kube-proxy 1.37 (cmd/kube-proxy/app/server.go, pkg/proxy/node.go).
func TestKubeProxyGetsWhatItWatches(t *testing.T) {
	w := newWorld(t)
	connection := w.connection(w.pod("shop", "cart-0"))
	connection.ContentType = runtime.ContentTypeProtobuf
	client, err := kubernetes.NewForConfig(connection)
	require.NoError(t, err)
	selected := func(labels, fields string) informers.SharedInformerFactory {
		return informers.NewSharedInformerFactoryWithOptions(client, time.Minute,
			informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector, o.FieldSelector = labels, fields }))
	}
	nodes := selected("", "metadata.name="+nodeName)
	node := w.start(nodes, nodes.Core().V1().Nodes().Informer())
	require.Equal(t, []string{nodeName}, node.names())
	shown := node()[nodeName].(*corev1.Node)
	assert.Equal(t, "10.0.0.9", shown.Status.Addresses[0].Address)
	assert.Equal(t, "a", shown.Labels[corev1.LabelTopologyZone])
	withoutProxyName := selected("!service.kubernetes.io/service-proxy-name", "spec.clusterIP!=None")
	services := w.start(withoutProxyName, withoutProxyName.Core().V1().Services().Informer())
	withoutHeadless := selected("!service.kubernetes.io/headless", "")
	slices := w.start(withoutHeadless, withoutHeadless.Discovery().V1().EndpointSlices().Informer())
	all := informers.NewSharedInformerFactory(client, time.Minute)
	cidrs := w.start(all, all.Networking().V1().ServiceCIDRs().Informer())
	assert.Empty(t, cidrs())

	headless := w.service("shop", "headless", func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone })
	elsewhere := w.service("shop", "elsewhere", func(s *corev1.Service) {
		s.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "other"}
	})
	cart := w.service("shop", "cart")
	for _, service := range []*corev1.Service{headless, elsewhere, cart} {
		w.put(service.DeepCopy())
	}
	w.eventually(services, cart)
	assert.Equal(t, []string{"default/kubernetes", "shop/cart"}, services.names())
	hidden := w.slice("shop", "headless", "headless-x", 1)
	hidden.Labels[corev1.IsHeadlessService] = ""
	w.put(hidden)
	slice := w.slice("shop", "cart", "cart-x", 2)
	slice.Annotations = map[string]string{
		corev1.EndpointsLastChangeTriggerTime: "2026-01-02T15:04:05Z", "example.com/other": "x",
	}
	w.put(slice.DeepCopy())
	w.eventually(slices, slice)
	assert.Equal(t, []string{"shop/cart-x"}, slices.names())
	got := slices()["shop/cart-x"].(*discoveryv1.EndpointSlice)
	assert.Equal(t, map[string]string{corev1.EndpointsLastChangeTriggerTime: "2026-01-02T15:04:05Z"}, got.Annotations)
	assert.Nil(t, got.Endpoints[0].TargetRef, "which Pods it has is not the business of other namespaces")
	assert.Equal(t, "node-1", *got.Endpoints[0].NodeName)

	// A Service that gets the label is gone for kube-proxy, with all that it has had, and comes back without it.
	for _, labels := range []map[string]string{elsewhere.Labels, nil} {
		changed := w.service("shop", "cart", func(s *corev1.Service) { s.Labels = labels })
		w.put(changed.DeepCopy())
		if labels == nil {
			w.eventually(services, changed)
		} else {
			require.Eventually(t, func() bool { return services()["shop/cart"] == nil }, timeout, tick)
		}
	}
}

// kube-proxy reports its start, and what repeats, to its Node.
func TestEventsOfKubeProxyAreTaken(t *testing.T) {
	for _, contentType := range []string{runtime.ContentTypeProtobuf, runtime.ContentTypeJSON} {
		t.Run(contentType, func(t *testing.T) {
			w := newWorld(t)
			connection := w.connection(w.pod("shop", "cart-0"))
			connection.ContentType = contentType
			client, err := kubernetes.NewForConfig(connection)
			require.NoError(t, err)
			sink := &taken{EventSinkImpl: events.EventSinkImpl{Interface: client.EventsV1()}}
			broadcaster := events.NewBroadcaster(sink)
			require.NoError(t, broadcaster.StartRecordingToSinkWithContext(t.Context()))
			recorder := broadcaster.NewRecorder(runtime.NewScheme(), "kube-proxy")
			for range 2 {
				recorder.Eventf(&corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: nodeName}, nil,
					corev1.EventTypeNormal, "Starting", "StartKubeProxy", "")
			}
			require.Eventually(t, func() bool { return sink.created.Load() == 1 && sink.patched.Load() == 1 }, timeout, tick)
			broadcaster.Shutdown()
		})
	}
}

// taken counts the Events that were taken.
type taken struct {
	events.EventSinkImpl
	created, patched atomic.Int32
}

func (s *taken) Create(ctx context.Context, event *eventsv1.Event) (*eventsv1.Event, error) {
	got, err := s.EventSinkImpl.Create(ctx, event)
	if err == nil {
		s.created.Add(1)
	}
	return got, err
}

func (s *taken) Patch(ctx context.Context, event *eventsv1.Event, data []byte) (*eventsv1.Event, error) {
	got, err := s.EventSinkImpl.Patch(ctx, event, data)
	if err == nil {
		s.patched.Add(1)
	}
	return got, err
}

func TestOtherRequestsGetAStatus(t *testing.T) {
	w := newWorld(t)
	client := w.client(w.pod("shop", "cart-0"))
	request := func(verb, path string, body []byte) error {
		return client.RESTClient().Verb(verb).RequestURI(path).Body(body).Do(t.Context()).Error()
	}
	for _, path := range []string{
		"/api/v1/pods", "/api/v1/namespaces/shop/services", "/api/v1/nodes/other", "/apis/events.k8s.io/v1/namespaces/x", "/",
	} {
		assert.True(t, apierrors.IsNotFound(request("GET", path, nil)), path)
	}
	for _, path := range []string{pathServices, pathNodes, pathEvents + "default/events"} {
		assert.True(t, apierrors.IsMethodNotSupported(request("DELETE", path, nil)), path)
	}
	for query, want := range map[string]string{
		"?watch=true&resourceVersion=new":                      `resourceVersion: invalid value "new"`,
		"?labelSelector=a%20in%20b":                            "",
		"?fieldSelector=spec.externalName=x":                   `"spec.externalName" of Service objects is not supported`,
		"?labelSelector=!" + strings.Repeat("a,!", 1000) + "a": "labelSelector and fieldSelector have 3002 bytes",
		"?continue=x": "this server sends lists whole",
		"?resourceVersionMatch=Exact&resourceVersion=5": "use NotOlderThan",
		"?shardSelector=x":                   "shardSelector is not supported",
		"?watch=true&sendInitialEvents=true": "sendInitialEvents requires setting resourceVersionMatch",
		"?timeoutSeconds=long":               "",
	} {
		err := request("GET", pathServices+query, nil)
		assert.True(t, apierrors.IsBadRequest(err), "%s: %v", query, err)
		assert.ErrorContains(t, err, want)
	}
	assert.True(t, apierrors.IsBadRequest(request("POST", pathEvents+"default/events", []byte("{}"))))
	assert.True(t, apierrors.IsBadRequest(
		request("POST", pathEvents+"default/events", bytes.Repeat([]byte("x"), maxEventBody+1))))
	node, err := client.CoreV1().Nodes().Get(t.Context(), nodeName, metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, nodeName, node.Name)
}
