package provider

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/spillway-k8s/spillway/internal/worker"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/inventory"
	"github.com/spillway-k8s/spillway/vnode/mirror"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

const (
	recheck      = 20 * time.Second
	refusalRetry = 5 * time.Minute
)

var owner = identity.Owner{ClusterID: "prod", Node: "virtual-node-cci-0"}

// spyCloud is the simulated cloud. It counts the requests for Pods, and fails those that a test wants to fail.
type spyCloud struct {
	cci.API
	mu    sync.Mutex
	calls map[string]int
	// fail holds the error of each operation.
	fail map[string]error
	// onCreate is called while a Pod is being created. It may be nil.
	onCreate func()
	// deletions holds the options of all deletions that were requested.
	deletions []cci.DeleteOptions
}

func (c *spyCloud) call(operation string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[operation]++
	return c.fail[operation]
}

func (c *spyCloud) CreatePod(ctx context.Context, namespace string, pod *cci.Pod) (*cci.Pod, error) {
	if err := c.call("create"); err != nil {
		return nil, err
	}
	if c.onCreate != nil {
		c.onCreate()
	}
	return c.API.CreatePod(ctx, namespace, pod)
}

func (c *spyCloud) GetPod(ctx context.Context, namespace, name string) (*cci.Pod, error) {
	if err := c.call("get"); err != nil {
		return nil, err
	}
	return c.API.GetPod(ctx, namespace, name)
}

func (c *spyCloud) DeletePod(ctx context.Context, namespace, name string, options cci.DeleteOptions) error {
	c.deletions = append(c.deletions, options)
	if err := c.call("delete"); err != nil {
		return err
	}
	return c.API.DeletePod(ctx, namespace, name, options)
}

// fakeFacts are what a test says about the cluster.
type fakeFacts struct {
	ready  bool
	global policy.Switch
	// annotations are by namespace. A namespace that is not in the map is unknown.
	annotations map[string]map[string]string
	labels      map[string]string
}

func (f *fakeFacts) Ready() bool                              { return f.ready }
func (f *fakeFacts) Global() policy.Switch                    { return f.global }
func (f *fakeFacts) NamespaceLabels(string) map[string]string { return f.labels }
func (f *fakeFacts) Namespace(name string) (map[string]string, error) {
	annotations, ok := f.annotations[name]
	if !ok {
		return nil, fmt.Errorf("namespace %s is unknown", name)
	}
	return annotations, nil
}

// harness is a Provider whose loop does not run: tests call reconcile. The Pods of the cluster are those that a test
// puts into the informer's store and into the fake API server.
type harness struct {
	*Provider
	t        *testing.T
	sim      *cloudtest.Cloud
	cloud    *spyCloud
	client   *fake.Clientset
	store    cache.Indexer
	recorder *record.FakeRecorder
	registry *prometheus.Registry
	clock    time.Time
	facts    *fakeFacts
	// services are those that Pods see, servicesErr why they are not known.
	services    []*corev1.Service
	servicesErr error
	// reported is the last Pod that the provider has passed to virtual-kubelet.
	reported *corev1.Pod
}

func newHarness(t *testing.T, changes ...func(*ccisim.Config)) *harness {
	t.Helper()
	h := &harness{
		t: t, sim: cloudtest.NewWithNetwork(t, changes...), client: fake.NewClientset(),
		recorder: record.NewFakeRecorder(100), registry: prometheus.NewRegistry(), clock: time.Now(),
		facts: &fakeFacts{ready: true, annotations: map[string]map[string]string{"default": {}}},
	}
	h.cloud = &spyCloud{API: h.sim.Client, calls: map[string]int{}, fail: map[string]error{}}
	config := h.config()
	h.store = config.Pods.GetIndexer()
	var err error
	h.Provider, err = New(config)
	require.NoError(t, err)
	h.NotifyPods(t.Context(), func(pod *corev1.Pod) { h.reported = pod })
	return h
}

// config returns a complete configuration.
func (h *harness) config() Config {
	h.t.Helper()
	logger, now := slog.New(slog.DiscardHandler), func() time.Time { return h.clock }
	translator, err := translate.New(translate.Config{
		Owner: owner, DefaultSize: "0.50_1.0", ClusterDNS: []string{"10.0.0.10"}, ClusterDomain: "cluster.local",
		CloudAnnotations: translate.DefaultCloudAnnotations(), Services: translate.ServicesConfig{ProxyImage: "proxy"},
	})
	require.NoError(h.t, err)
	rules, err := policy.New(policy.DefaultConfig())
	require.NoError(h.t, err)
	pods := informers.NewSharedInformerFactory(h.client, 0).Core().V1().Pods().Informer()
	known, err := inventory.New(inventory.Config{
		API: h.cloud, Namespace: cloudtest.Namespace, Owner: owner, Now: now, Logger: logger,
		WatchTimeout: time.Minute, RelistInterval: time.Hour, MinRetryInterval: time.Millisecond,
	})
	require.NoError(h.t, err)
	mirrors, err := mirror.New(mirror.Config{
		API: h.cloud, Namespace: cloudtest.Namespace, Owner: owner, Translator: translator, Sources: h.client.CoreV1(),
		Pods: pods, Inventory: known, Refresh: time.Minute, RemoveAfter: time.Minute, Relist: time.Hour,
		MinRetryInterval: time.Millisecond, MaxRetryInterval: time.Second, Now: now, Logger: logger,
		Kubeconfig: func(*corev1.Pod) ([]byte, error) { return []byte("kubeconfig"), nil },
		Claims:     true, VolumeKinds: []string{"sfsturbo"},
		Limits: mirror.Limits{ObjectsPerPod: 3, ObjectsPerNamespace: 4, BytesPerNamespace: 1 << 20},
	})
	require.NoError(h.t, err)
	return Config{
		Cloud: h.cloud, Namespace: cloudtest.Namespace, Owner: owner, Inventory: known, Mirrors: mirrors,
		Translator: translator, Policy: rules, Facts: h.facts, NodeIP: "10.0.0.1",
		NodeDNS:  func() *corev1.PodDNSConfig { return nil },
		Services: func(string) ([]*corev1.Service, error) { return h.services, h.servicesErr },
		Pods:     pods, Client: h.client.CoreV1(), Recorder: h.recorder, Workers: 2,
		MinRetryInterval: time.Millisecond, MaxRetryInterval: time.Minute, RefusalRetry: refusalRetry, Recheck: recheck,
		Now: now, Registerer: h.registry, Logger: logger,
	}
}

// newPod returns a Pod that is bound to the node.
func newPod(name string, changes ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: types.UID("uid-" + name), ResourceVersion: "1",
		},
		Spec: corev1.PodSpec{
			NodeName: owner.Node, RestartPolicy: corev1.RestartPolicyAlways,
			Containers: []corev1.Container{{Name: "main", Image: "nginx"}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, change := range changes {
		change(pod)
	}
	return pod
}

func restart(policy corev1.RestartPolicy) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Spec.RestartPolicy = policy }
}

func phase(phase corev1.PodPhase) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Status.Phase = phase }
}

func deleted(grace int64) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &metav1.Time{Time: time.Now()}, &grace
	}
}

// put writes a Pod into the informer's store, and into the API server.
func (h *harness) put(pod *corev1.Pod) *corev1.Pod {
	h.t.Helper()
	require.NoError(h.t, h.store.Add(pod))
	require.NoError(h.t, h.client.Tracker().Add(pod))
	return pod
}

// reconcilePod reconciles as the worker loop does, but for the delays.
func (h *harness) reconcilePod(pod *corev1.Pod) (time.Duration, error) {
	h.t.Helper()
	key := identity.KeyOf(pod)
	requeueAfter, err := h.work(h.t.Context(), key)
	if err != nil && requeueAfter == 0 {
		h.failed(key, h.state(key).failures+1, max(time.Second, cci.RetryAfter(err)), err)
	}
	return requeueAfter, err
}

// reconciles reconciles a Pod without an error, and returns when the Pod is to be reconciled again.
func (h *harness) reconciles(pod *corev1.Pod) time.Duration {
	h.t.Helper()
	requeueAfter, err := h.reconcilePod(pod)
	require.NoError(h.t, err)
	return requeueAfter
}

// run creates the cloud Pod of a Pod and waits until it runs. The Pod in the store then has the status of a running
// Pod.
func (h *harness) run(pod *corev1.Pod) *cci.Pod {
	h.t.Helper()
	h.put(pod)
	h.reconciles(pod)
	cloud := h.observe(pod, func(cloud *cci.Pod) bool { return cloud.Status.Phase == corev1.PodRunning })
	h.reconciles(pod)
	require.NotNil(h.t, h.reported)
	require.Equal(h.t, corev1.PodRunning, h.reported.Status.Phase)
	pod.Status = h.reported.Status
	h.reported = nil
	h.drainEvents()
	return cloud
}

// observe waits for a state of a cloud Pod and puts it into the inventory, as the watch does.
func (h *harness) observe(pod *corev1.Pod, isReached func(*cci.Pod) bool) *cci.Pod {
	h.t.Helper()
	var found *cci.Pod
	require.Eventually(h.t, func() bool {
		var err error
		found, err = h.sim.Client.GetPod(h.t.Context(), cloudtest.Namespace, identity.CloudName(identity.KeyOf(pod)))
		return err == nil && isReached(found)
	}, cloudtest.Timeout, cloudtest.Tick, "the cloud Pod reaches the state")
	h.setCloud(found)
	return found
}

// setCloud replaces what the inventory knows of a cloud Pod.
func (h *harness) setCloud(cloud *cci.Pod) {
	h.t.Helper()
	key, ok := owner.Owns(cloud)
	require.True(h.t, ok)
	if known := h.inventory.Get(key); known != nil {
		h.inventory.Drop(key, known)
	}
	h.inventory.Put(cloud)
}

// awaitGone waits until the cloud does not have the Pod.
func (h *harness) awaitGone(pod *corev1.Pod) {
	h.t.Helper()
	isGone := func() bool { return !h.isInCloud(pod) }
	require.Eventually(h.t, isGone, cloudtest.Timeout, cloudtest.Tick, "the cloud Pod is gone")
}

func (h *harness) isInCloud(pod *corev1.Pod) bool {
	_, err := h.sim.Client.GetPod(h.t.Context(), cloudtest.Namespace, identity.CloudName(identity.KeyOf(pod)))
	return !cci.IsNotFound(err)
}

// drainEvents returns the Events since the last call.
func (h *harness) drainEvents() []string {
	var events []string
	for {
		select {
		case event := <-h.recorder.Events:
			events = append(events, event)
		default:
			return events
		}
	}
}

// assertEvent checks that exactly one Event was recorded, and what it contains.
func (h *harness) assertEvent(parts ...string) {
	h.t.Helper()
	events := h.drainEvents()
	if assert.Len(h.t, events, 1, "one Event is recorded") {
		for _, part := range parts {
			assert.Contains(h.t, events[0], part)
		}
	}
}

func (h *harness) assertNoEvent() {
	h.t.Helper()
	assert.Empty(h.t, h.drainEvents(), "no Event is recorded")
}

func (h *harness) status() corev1.PodStatus {
	h.t.Helper()
	require.NotNil(h.t, h.reported, "a status is reported")
	return h.reported.Status
}

func (h *harness) metric(collector prometheus.Collector) float64 {
	return testutil.ToFloat64(collector)
}

// rebuildLoop replaces the worker loop by one that only passes keys on, and runs it until the test ends.
func (h *harness) rebuildLoop(pass func(identity.Key)) {
	h.t.Helper()
	var err error
	h.loop, err = worker.New(worker.Config[identity.Key]{
		Name: "test", Workers: 1, MinRetryInterval: time.Second, MaxRetryInterval: time.Second,
		Namespace: func(key identity.Key) string { return key.Namespace },
		Reconcile: func(_ context.Context, key identity.Key) (time.Duration, error) {
			pass(key)
			return 0, nil
		},
	})
	require.NoError(h.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.loop.Run(ctx) }()
	h.t.Cleanup(func() {
		cancel()
		assert.NoError(h.t, <-ended)
	})
}
