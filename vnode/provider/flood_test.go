package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	fcache "k8s.io/client-go/tools/cache/testing"
	"k8s.io/client-go/tools/record"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/inventory"
	"github.com/spillway-k8s/spillway/vnode/mirror"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// floodLatency is how long the cloud of a flood takes for an answer.
const floodLatency = 100 * time.Millisecond

// floodCloud is a cloud in memory, because the clock of a bubble stalls while a connection is used. It accepts
// everything. It refuses to create Pods of the namespace broken.
type floodCloud struct {
	mu sync.Mutex
	// created are the names of the objects that were created, in this order. refused counts the others.
	created []string
	refused int
}

func (c *floodCloud) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Query().Get("watch") != "" {
		stream, end := io.Pipe()
		context.AfterFunc(request.Context(), func() { _ = end.Close() })
		return &http.Response{StatusCode: http.StatusOK, Body: stream}, nil
	}
	time.Sleep(floodLatency)
	status, answer := http.StatusOK, map[string]any{"metadata": map[string]any{"resourceVersion": "1"}, "items": nil}
	if request.Method == http.MethodPost {
		delete(answer, "items")
		if err := json.NewDecoder(request.Body).Decode(&answer); err != nil {
			return nil, err
		}
		meta := answer["metadata"].(map[string]any)
		meta["uid"], status = meta["name"], http.StatusCreated
		c.mu.Lock()
		defer c.mu.Unlock()
		if strings.HasPrefix(fmt.Sprint(meta["name"]), "broken-") && strings.HasSuffix(request.URL.Path, "/pods") {
			c.refused++
			status = http.StatusInternalServerError
		} else {
			c.created = append(c.created, fmt.Sprint(meta["name"]))
		}
	}
	body, err := json.Marshal(answer)
	return &http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewReader(body))}, err
}

// count returns how many objects of a namespace the cloud has.
func (c *floodCloud) count(namespace string) (count int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range c.created {
		if strings.HasPrefix(name, namespace+"-") {
			count++
		}
	}
	return count
}

// counts returns how many objects were created, and how many were refused.
func (c *floodCloud) counts() (created, refused int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.created), c.refused
}

// flood is a virtual node that runs in a bubble, with its defaults.
type flood struct {
	t       *testing.T
	cloud   *floodCloud
	cluster *fcache.FakeControllerSource
}

// startFlood starts a virtual node. It ends with the context.
func startFlood(ctx context.Context, t *testing.T, ended *sync.WaitGroup) *flood {
	t.Helper()
	f := &flood{t: t, cloud: &floodCloud{}, cluster: fcache.NewFakeControllerSource()}
	sources := fake.NewClientset()
	sources.PrependReactor("get", "configmaps", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return true, &corev1.ConfigMap{Data: map[string]string{"a": "1"}}, nil
	})
	client := cloudtest.NewClient(t, cci.Config{
		Endpoint: "https://cloud", ProjectID: "p", Credentials: cci.Credentials{AccessKey: "a", SecretKey: "s"},
		QPS: 20, Burst: 40, RequestTimeout: time.Minute, Tries: 4, RetryDelay: 200 * time.Millisecond,
		Exec: cci.ExecConfig{IAMEndpoint: "https://cloud"}, Transport: f.cloud,
	})
	logger := slog.New(slog.DiscardHandler)
	translator, err := translate.New(translate.Config{Owner: owner, DefaultSize: "0.50_1.0"})
	require.NoError(t, err)
	rules, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	pods := cache.NewSharedIndexInformer(f.cluster, &corev1.Pod{}, 0,
		cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	known, err := inventory.New(inventory.Config{
		API: client, Namespace: cloudtest.Namespace, Owner: owner, Now: time.Now, Logger: logger,
		WatchTimeout: 2 * time.Minute, RelistInterval: time.Hour, MinRetryInterval: 500 * time.Millisecond,
	})
	require.NoError(t, err)
	mirrors, err := mirror.New(mirror.Config{
		API: client, Namespace: cloudtest.Namespace, Owner: owner, Translator: translator,
		Sources: sources.CoreV1(), Pods: pods, Inventory: known, Refresh: time.Minute, RemoveAfter: time.Minute,
		Limits: mirror.Limits{ObjectsPerPod: 100, ObjectsPerNamespace: 2000, BytesPerNamespace: 64 << 20},
		Relist: time.Hour, MinRetryInterval: 500 * time.Millisecond, MaxRetryInterval: time.Minute, Now: time.Now,
		Logger: logger,
	})
	require.NoError(t, err)
	namespaces := map[string]map[string]string{"large": {}, "broken": {}, "small": {}}
	facts := &fakeFacts{ready: true, annotations: namespaces}
	p, err := New(Config{
		Cloud: client, Namespace: cloudtest.Namespace, Owner: owner, Inventory: known, Mirrors: mirrors,
		Facts:      facts,
		Translator: translator, Policy: rules, NodeIP: "10.0.0.1", NodeDNS: func() *corev1.PodDNSConfig { return nil },
		Services: func(string) ([]*corev1.Service, error) { return nil, nil },
		Pods:     pods, Client: sources.CoreV1(), Recorder: record.NewFakeRecorder(10_000), Workers: 50,
		MinRetryInterval: 500 * time.Millisecond, MaxRetryInterval: time.Minute, RefusalRetry: refusalRetry,
		Recheck: recheck, Now: time.Now, Logger: logger,
	})
	require.NoError(t, err)
	p.NotifyPods(ctx, func(*corev1.Pod) {})
	for _, run := range []func(context.Context) error{known.Run, mirrors.Run, p.Run} {
		ended.Go(func() { assert.NoError(t, run(ctx)) })
	}
	ended.Go(func() { pods.RunWithContext(ctx) })
	return f
}

// create creates Pods of a namespace, each with a ConfigMap of its own.
func (f *flood) create(namespace string, n int) {
	f.t.Helper()
	for i := range n {
		name := fmt.Sprint("web-", i)
		pod := newPod(name, func(pod *corev1.Pod) {
			pod.Namespace, pod.UID = namespace, types.UID(namespace+name)
			pod.Spec.Volumes = []corev1.Volume{{Name: "settings", VolumeSource: corev1.VolumeSource{
				ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}},
			}}}
		})
		f.cluster.Add(pod)
	}
}

// awaitCreated waits until the cloud has n objects of a namespace, and returns how long that takes.
func (f *flood) awaitCreated(namespace string, n int) time.Duration {
	f.t.Helper()
	begin := time.Now()
	for f.cloud.count(namespace) < n {
		require.Less(f.t, time.Since(begin), time.Hour, "the cloud has %d objects", f.cloud.count(namespace))
		time.Sleep(50 * time.Millisecond)
	}
	return time.Since(begin)
}

// inFlood runs a test in a bubble.
func inFlood(t *testing.T, test func(t *testing.T, f *flood)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var ended sync.WaitGroup
		f := startFlood(ctx, t, &ended)
		// Deferred: after a requirement that is not met, goroutines that remain would turn the failure into a panic of
		// the bubble, which says "deadlock" and not what was required.
		defer f.cluster.Shutdown()
		defer ended.Wait()
		defer cancel()
		test(t, f)
	})
}

// An attack: a tenant creates a thousand Pods with a ConfigMap each. Another tenant creates one.
func TestAThousandPodsOfOneNamespaceDoNotDelayAnother(t *testing.T) {
	inFlood(t, func(t *testing.T, f *flood) {
		f.create("large", 1000)
		f.awaitCreated("large", 200)
		f.create("small", 1)
		before, _ := f.cloud.counts()
		took := f.awaitCreated("small", 2)
		after, _ := f.cloud.counts()
		between := after - before
		t.Logf("the ConfigMap and the Pod were created after %s and %d requests", took, between)
		assert.Less(t, took, time.Second)
		assert.LessOrEqual(t, between, 12)
	})
}

// An attack: the cloud fails for every Pod of a tenant.
func TestPodsThatFailForEverDoNotDelayAnotherNamespace(t *testing.T) {
	inFlood(t, func(t *testing.T, f *flood) {
		f.create("broken", 1000)
		f.awaitCreated("broken", 1000)
		time.Sleep(time.Minute)
		f.create("small", 1)
		took := f.awaitCreated("small", 2)
		_, refused := f.cloud.counts()
		t.Logf("created after %s, when %d requests had been refused", took, refused)
		assert.Less(t, took, time.Second)
	})
}
