package app

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	kubetesting "k8s.io/client-go/testing"

	"github.com/spillway-k8s/spillway/extender/config"
	"github.com/spillway-k8s/spillway/extender/leadership"
	"github.com/spillway-k8s/spillway/extender/server"
	"github.com/spillway-k8s/spillway/policy"
)

// cluster is an API server in memory with a local node and a virtual node.
type cluster struct {
	t        *testing.T
	pods     *fake.Clientset
	metadata *metadatafake.FakeMetadataClient
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	scheme := metadatafake.NewTestScheme()
	require.NoError(t, metav1.AddMetaToScheme(scheme))
	client := fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	client.PrependReactor("create", "leases", func(action kubetesting.Action) (bool, runtime.Object, error) {
		action.(kubetesting.CreateAction).GetObject().(*coordinationv1.Lease).UID = "lease"
		return false, nil, nil
	})
	return &cluster{
		t: t, pods: client,
		metadata: metadatafake.NewSimpleMetadataClient(scheme,
			node("local-0", nil), node("virtual-0", policy.VirtualNodeLabels())),
	}
}

func (c *cluster) clients() Clients {
	return Clients{Kubernetes: c.pods, Metadata: c.metadata, Leases: c.pods}
}

func node(name string, labels map[string]string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
	}
}

// pod returns a Pod of one ReplicaSet with a quota of 1. Its version is above those that the client in memory assigns.
func pod(name string, version int) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: name, UID: types.UID("uid-" + name), ResourceVersion: strconv.Itoa(1000 + version),
		Annotations: map[string]string{policy.SwitchKey: "true", policy.LocalReplicasAnnotation: "1"},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: "web", Controller: new(true),
		}},
	}}
}

// list adds a Pod to the lists of metadata only.
func (c *cluster) list(pod *corev1.Pod) {
	c.t.Helper()
	pods := c.metadata.Resource(corev1.SchemeGroupVersion.WithResource("pods")).Namespace("default")
	_, err := pods.(metadatafake.MetadataClient).CreateFake(&metav1.PartialObjectMetadata{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: pod.ObjectMeta,
	}, metav1.CreateOptions{})
	require.NoError(c.t, err)
}

// create creates a Pod. The watch of the ledger sees it.
func (c *cluster) create(pod *corev1.Pod) *corev1.Pod {
	c.t.Helper()
	created, err := c.pods.CoreV1().Pods("default").Create(c.t.Context(), pod, metav1.CreateOptions{})
	require.NoError(c.t, err)
	return created
}

// start runs an extender until the end of the test, and waits until it is ready.
func (c *cluster) start(change func(*config.Config)) *Extender {
	c.t.Helper()
	cfg := config.Default()
	cfg.Listen = "127.0.0.1:0"
	change(cfg)
	e, err := New(cfg, c.clients(), "host", slog.New(slog.DiscardHandler))
	require.NoError(c.t, err)
	require.ErrorContains(c.t, e.Placement.Ready(), "the extender is starting")
	ctx, stop := context.WithCancel(c.t.Context())
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()
	c.t.Cleanup(func() {
		stop()
		assert.NoError(c.t, <-ended)
	})
	require.Eventually(c.t, func() bool { return e.Placement.Ready() == nil }, time.Minute, time.Millisecond)
	return e
}

var everyNode = []string{"local-0", "virtual-0"}

func TestAnExtenderKeepsAQuota(t *testing.T) {
	for name, change := range map[string]func(*config.Config){
		"next to a single scheduler": func(*config.Config) {},
		"as an elected leader":       func(c *config.Config) { c.LeaderElectionNamespace = "default" },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			e := c.start(change)
			one, two := c.create(pod("one", 1)), c.create(pod("two", 2))
			result, err := e.Placement.Filter(t.Context(), one, everyNode)
			require.NoError(t, err)
			assert.Equal(t, []string{"local-0"}, result.Names)
			result, err = e.Placement.Filter(t.Context(), two, everyNode)
			require.NoError(t, err)
			assert.Equal(t, []string{"virtual-0"}, result.Names)

			written, err := c.pods.CoreV1().Pods("default").Get(t.Context(), "one", metav1.GetOptions{})
			require.NoError(t, err)
			assert.Equal(t, "uid-one", written.Annotations[policy.LocalSlotAnnotation])
		})
	}
}

func TestAWaitingPodIsRequeuedWhenItsSlotBecomesFree(t *testing.T) {
	c := newCluster(t)
	e := c.start(func(*config.Config) {})
	one, two := c.create(pod("one", 1)), c.create(pod("two", 2))
	_, err := e.Placement.Filter(t.Context(), one, everyNode)
	require.NoError(t, err)
	result, err := e.Placement.Filter(t.Context(), two, []string{"local-0"})
	require.NoError(t, err)
	assert.Equal(t, policy.ReasonLocalQuota, result.Reason)

	require.NoError(t, c.pods.CoreV1().Pods("default").Delete(t.Context(), "one", metav1.DeleteOptions{}))
	require.Eventually(t, func() bool {
		pod, err := c.pods.CoreV1().Pods("default").Get(t.Context(), "two", metav1.GetOptions{})
		return err == nil && pod.Annotations[policy.RequeueAnnotation] != ""
	}, time.Minute, time.Millisecond)
}

func TestATermSettlesOnceTheLedgerHasSeenTheNewestPod(t *testing.T) {
	c := newCluster(t)
	e := c.start(func(cfg *config.Config) { cfg.AnswerTimeout.Duration = 100 * time.Millisecond })
	one, newest := c.create(pod("one", 1)), pod("newest", 2)
	c.list(newest)
	_, err := e.Placement.Filter(t.Context(), one, everyNode)
	require.ErrorContains(t, err, "reading the slots of earlier terms", "the watch has not delivered the newest Pod")
	c.create(newest)
	require.Eventually(t, func() bool {
		_, err := e.Placement.Filter(t.Context(), one, everyNode)
		return err == nil
	}, time.Minute, time.Millisecond)
}

func TestAnExtenderStopsBeforeItsCachesHaveSynced(t *testing.T) {
	e, err := New(config.Default(), newCluster(t).clients(), "host", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	require.NoError(t, e.lead(ctx))
}

func TestAnInvalidPolicyIsAnError(t *testing.T) {
	cfg := config.Default()
	cfg.Policy.VolumeKinds = []string{""}
	_, err := New(cfg, newCluster(t).clients(), "host", slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "volumeKinds")
}

func TestLeadershipFollowsTheConfiguration(t *testing.T) {
	kindOf := func(change func(*config.Config)) leader {
		cfg := config.Default()
		change(cfg)
		return newLeader(cfg, fake.NewClientset(), "host", prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	}
	assert.IsType(t, &leadership.Scheduler{}, kindOf(func(*config.Config) {}))
	assert.IsType(t, &leadership.Scheduler{}, kindOf(func(c *config.Config) { c.SchedulerLease = "a/b" }))
	assert.IsType(t, &leadership.Election{}, kindOf(func(c *config.Config) { c.LeaderElectionNamespace = "a" }))
}

func TestListeners(t *testing.T) {
	body := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
	}
	handlers := server.Handlers{Verbs: body("verbs"), Health: body("health")}
	// served are the addresses, and what each serves at the path of a verb and at that of health.
	cases := map[string]struct {
		change func(*config.Config)
		served map[string][2]string
	}{
		"one port serves everything": {
			func(*config.Config) {}, map[string][2]string{"127.0.0.1:10290": {"verbs", "health"}},
		},
		"health has its own port": {
			func(c *config.Config) { c.HealthListen = ":1" },
			map[string][2]string{"127.0.0.1:10290": {"verbs", "verbs"}, ":1": {"health", "health"}},
		},
		"with TLS health has its own port": {
			func(c *config.Config) {
				c.TLSCertFile, c.TLSPrivateKeyFile, c.ClientCAFile, c.HealthListen = "crt", "key", "ca", ":1"
			},
			map[string][2]string{"127.0.0.1:10290": {"verbs", "verbs"}, ":1": {"health", "health"}},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := config.Default()
			tc.change(cfg)
			served := map[string][2]string{}
			for _, s := range listeners(cfg, handlers, nil) {
				var bodies [2]string
				for i, path := range []string{"/v1/filter", "/readyz"} {
					recorder := httptest.NewRecorder()
					s.Handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, path, nil))
					bodies[i] = recorder.Body.String()
				}
				served[s.Address] = bodies
				isVerbs := s.Address == cfg.Listen
				assert.Equal(t, isVerbs && cfg.UsesTLS(), s.CertFile != "" && s.KeyFile != "" && s.ClientCAFile != "")
			}
			assert.Equal(t, tc.served, served)
		})
	}
}
