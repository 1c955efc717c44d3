package mirror

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/internal/worker"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

var settings = mirrorOf(identity.MirrorConfigMap, "settings")

// withCopy returns a harness with a Pod that refers to ConfigMap settings, and with its copy.
func withCopy(
	t *testing.T, changes ...func(*ccisim.Config),
) (*harness, *corev1.ConfigMap, *corev1.Pod) {
	t.Helper()
	h := newHarness(t, changes...)
	object := h.addConfigMap("settings", map[string]string{"a": "1"})
	pod := h.put(newPod("web", configMapRef("settings", false)))
	h.ensures(pod)
	return h, object, pod
}

func TestACopyInUseFollowsItsSource(t *testing.T) {
	h, object, _ := withCopy(t)
	assertRefresh(t, h.reconciles(settings))
	assert.Zero(t, h.cloud.calls["update"])

	object.Data["a"] = "2"
	h.updateConfigMap(object)
	assertRefresh(t, h.reconciles(settings))
	assert.Equal(t, "2", h.copyOf(settings).Text["a"])

	require.NoError(t, h.cluster.CoreV1().ConfigMaps("default").Delete(t.Context(), "settings", metav1.DeleteOptions{}))
	assertRefresh(t, h.reconciles(settings))
	assert.Equal(t, "2", h.copyOf(settings).Text["a"], "a copy without a source stays for the Pods that run with it")
	_, missing := errors.AsType[*Missing](h.ensureFails(newPod("second", configMapRef("settings", false))))
	assert.True(t, missing, "a new Pod waits for the source")
}

func TestErrorsOfARefreshAreRetried(t *testing.T) {
	h, object, _ := withCopy(t)
	object.Data["a"] = "2"
	h.updateConfigMap(object)
	h.cloud.fail["update"] = &cci.Error{Kind: cci.Throttled, After: 7 * time.Second}
	_, err := h.reconcile(t.Context(), settings)
	assert.Equal(t, 7*time.Second, cci.RetryAfter(err))
	h.cluster.PrependReactor("get", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewInternalError(errors.New("broken"))
	})
	_, err = h.reconcile(t.Context(), settings)
	assert.ErrorContains(t, err, "reading ConfigMap default/settings")
	h.failed(settings, 1, time.Second, err)
}

func TestAnUnusedCopyIsRemoved(t *testing.T) {
	h, _, pod := withCopy(t)
	h.removePod(pod)
	assert.Equal(t, removeAfter, h.reconciles(settings))
	h.pass(10 * time.Second)
	assert.Equal(t, removeAfter-10*time.Second, h.reconciles(settings))
	assert.NotNil(t, h.copyOf(settings))

	h.pass(removeAfter)
	assert.Zero(t, h.reconciles(settings))
	assert.Nil(t, h.copyOf(settings))
	assert.Empty(t, h.Mirrors.known(), "nothing is kept of it")
	assert.Zero(t, h.reconciles(settings))
}

func TestACopyThatIsNeededStays(t *testing.T) {
	for name, need := range map[string]func(*harness){
		"by another Pod of the node": func(h *harness) { h.put(newPod("second", configMapRef("settings", false))) },
		"by a Pod that needs it again": func(h *harness) {
			h.ensures(h.put(newPod("second", configMapRef("settings", false))))
		},
		"by a cloud Pod": func(h *harness) { h.inventory.uses(cci.ConfigMapObject, owner.MirrorName(settings)) },
	} {
		t.Run(name, func(t *testing.T) {
			h, _, pod := withCopy(t)
			h.removePod(pod)
			assert.Equal(t, removeAfter, h.reconciles(settings))
			h.pass(removeAfter)
			need(h)
			assertRefresh(t, h.reconciles(settings))
			assert.NotNil(t, h.copyOf(settings))
			for _, pod := range h.store.List() {
				require.NoError(t, h.store.Delete(pod))
			}
			clear(h.inventory.refers)
			assert.Equal(t, removeAfter, h.reconciles(settings), "the time begins again")
		})
	}
}

func TestErrorsOfARemoval(t *testing.T) {
	prepare := func(t *testing.T, changes ...func(*ccisim.Config)) *harness {
		h, _, pod := withCopy(t, changes...)
		h.removePod(pod)
		h.reconciles(settings)
		h.pass(removeAfter)
		return h
	}
	t.Run("an error of the cloud is retried", func(t *testing.T) {
		h := prepare(t)
		h.cloud.fail["delete"] = &cci.Error{Kind: cci.Transient}
		_, err := h.reconcile(t.Context(), settings)
		require.Error(t, err)
		delete(h.cloud.fail, "delete")
		assert.Zero(t, h.reconciles(settings))
		assert.Nil(t, h.copyOf(settings))
	})
	t.Run("a copy that is gone already is dropped", func(t *testing.T) {
		h := prepare(t)
		h.deleteCopy(settings)
		assert.Zero(t, h.reconciles(settings))
		assert.Empty(t, h.Mirrors.known())
	})
	t.Run("a copy that was created again is removed later, also if the cloud checks no UID", func(t *testing.T) {
		h := prepare(t, func(c *ccisim.Config) { c.Policies.IgnorePreconditions = true })
		h.deleteCopy(settings)
		h.createCopy(owner.MirrorMeta(settings, "other"), cci.ConfigMap, map[string]string{"a": "2"})
		assert.Equal(t, removeAfter, h.reconciles(settings))
		assert.NotNil(t, h.copyOf(settings))
		assert.Zero(t, h.reconciles(settings))
		assert.Nil(t, h.copyOf(settings))
	})
	t.Run("a foreign object of the name stays", func(t *testing.T) {
		h := prepare(t)
		h.deleteCopy(settings)
		h.createCopy(metav1.ObjectMeta{Name: owner.MirrorName(settings)}, cci.ConfigMap, map[string]string{"theirs": "2"})
		_, err := h.reconcile(t.Context(), settings)
		require.ErrorContains(t, err, "its annotations name another object")
		assert.NotNil(t, h.copyOf(settings))
	})
}

func TestAnEntryWithoutACopyIsDropped(t *testing.T) {
	h := newHarness(t)
	pod := h.put(newPod("web", configMapRef("settings", true)))
	h.ensures(pod)
	assert.Len(t, h.Mirrors.known(), 1)
	assertRefresh(t, h.reconciles(settings))
	h.removePod(pod)
	assert.Zero(t, h.reconciles(settings))
	assert.Empty(t, h.Mirrors.known())
}

func TestCopiesAreFoundAgainAfterARestart(t *testing.T) {
	h, _, pod := withCopy(t)
	h.restart()
	assert.Empty(t, h.Mirrors.known())
	h.lists()
	assert.Equal(t, []identity.Mirror{settings}, h.Mirrors.known())
	assertRefresh(t, h.reconciles(settings))

	h.removePod(pod)
	assert.Equal(t, removeAfter, h.reconciles(settings))
	h.pass(removeAfter)
	h.reconciles(settings)
	assert.Nil(t, h.copyOf(settings))
}

func TestOnlyTheOwnersCopiesAreListed(t *testing.T) {
	h := newHarness(t)
	other := identity.Owner{ClusterID: owner.ClusterID, Node: "other"}
	h.createCopy(other.MirrorMeta(settings, "s"), cci.ConfigMap, map[string]string{"a": "1"})
	h.createCopy(metav1.ObjectMeta{Name: "theirs"}, cci.ConfigMap, map[string]string{"a": "1"})
	stolen := owner.MirrorMeta(settings, "s")
	stolen.Name = "stolen"
	h.createCopy(stolen, cci.ConfigMap, map[string]string{"a": "1"})
	h.lists()
	assert.Empty(t, h.Mirrors.known())
}

func TestListsHaveSeveralPages(t *testing.T) {
	h := newHarness(t)
	for i := range pageSize + 5 {
		mirror := mirrorOf(identity.MirrorConfigMap, fmt.Sprintf("c-%d", i))
		h.createCopy(owner.MirrorMeta(mirror, "s"), cci.ConfigMap, map[string]string{"a": "1"})
	}
	h.lists()
	assert.Len(t, h.Mirrors.known(), pageSize+5)
	for _, mirror := range h.Mirrors.known() {
		h.deleteCopy(mirror)
	}
	h.sim.Fault(t, ccisim.Fault{Kind: ccisim.Arrears, Verb: "list", Path: "secrets"})
	h.pass(time.Second)
	require.Error(t, h.list(t.Context()))
	assert.Equal(t, pageSize+5, h.count(identity.MirrorConfigMap), "an incomplete list changes nothing")
}

func TestACopyThatOthersDeleteIsCreatedAgain(t *testing.T) {
	h, _, _ := withCopy(t)
	h.deleteCopy(settings)
	assertRefresh(t, h.reconciles(settings))
	assert.Nil(t, h.copyOf(settings), "only a list shows that it is gone")
	h.lists()
	assert.Zero(t, h.count(identity.MirrorConfigMap))
	h.reconciles(settings)
	assert.NotNil(t, h.copyOf(settings))
}

func TestAListDoesNotOverruleALaterWrite(t *testing.T) {
	h, _, _ := withCopy(t)
	h.adopt(settings, nil, h.clock.Add(-time.Second))
	assert.Equal(t, 1, h.count(identity.MirrorConfigMap))
	h.adopt(settings, nil, h.clock.Add(time.Second))
	assert.Zero(t, h.count(identity.MirrorConfigMap))
}

func TestCopiesAreCountedByKind(t *testing.T) {
	h := newHarness(t)
	config, registry := h.config(), prometheus.NewRegistry()
	config.Registerer = registry
	var err error
	h.Mirrors, err = New(config)
	require.NoError(t, err)
	h.addConfigMap("settings", map[string]string{"a": "1"})
	h.ensures(newPod("web", configMapRef("settings", false), tokenRef("")))
	values, writes := map[string]float64{}, 0
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			name := family.GetName()
			for _, label := range metric.GetLabel() {
				name += " " + label.GetValue()
			}
			if metric.GetCounter() != nil {
				writes++
			}
			if value := metric.GetGauge().GetValue() + metric.GetCounter().GetValue(); value != 0 {
				values[name] = value
			}
		}
	}
	assert.Equal(t, map[string]float64{
		"spillway_vnode_mirrors ConfigMap": 1, "spillway_vnode_mirrors Token": 1,
		"spillway_vnode_mirror_writes_total ConfigMap create": 1, "spillway_vnode_mirror_writes_total Token create": 1,
	}, values)
	assert.Equal(t, 4*3, writes, "kinds and operations, also before the first write")
}

func TestConfigErrorsAreReportedTogether(t *testing.T) {
	_, err := New(Config{})
	for _, name := range []string{
		"API", "Namespace", "Translator", "Sources", "Pods", "Inventory", "Now", "Logger", "retry intervals",
	} {
		assert.ErrorContains(t, err, name)
	}
}

// TestTheLoop runs the mirrors against the fake API server and the simulated cloud.
func TestTheLoop(t *testing.T) {
	h := newHarness(t)
	config := h.config()
	config.Now, config.Refresh, config.RemoveAfter = time.Now, 50*time.Millisecond, 10*time.Millisecond
	config.Relist = 20 * time.Millisecond
	m, err := New(config)
	require.NoError(t, err)
	h.addConfigMap("settings", map[string]string{"a": "1"})
	pods := h.cluster.CoreV1().Pods("default")
	pod, err := pods.Create(t.Context(), newPod("web", configMapRef("settings", false)), metav1.CreateOptions{})
	require.NoError(t, err)
	h.sim.Fault(t, ccisim.Fault{Kind: ccisim.ServerError, Verb: "list", Path: "configmaps", Times: 5})

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { config.Pods.RunWithContext(ctx); ended <- nil }()
	go func() { ended <- m.Run(ctx) }()
	defer func() {
		cancel()
		assert.NoError(t, <-ended)
		assert.NoError(t, <-ended)
	}()
	<-m.Synced()
	require.True(t, cache.WaitForCacheSync(ctx.Done(), config.Pods.HasSynced))
	require.NoError(t, m.Ensure(ctx, pod))
	require.NotNil(t, h.copyOf(settings))
	require.NoError(t, pods.Delete(ctx, "web", metav1.DeleteOptions{}))
	require.Eventually(t, func() bool { return h.copyOf(settings) == nil }, cloudtest.Timeout, cloudtest.Tick,
		"the copy is removed after its Pod is gone")
}

func TestRunEndsBeforeThePodsAreKnown(t *testing.T) {
	h := newHarness(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.NoError(t, h.Run(ctx))
}

func TestADeletedPodQueuesItsCopies(t *testing.T) {
	pod := newPod("web", configMapRef("settings", false))
	for name, object := range map[string]any{
		"a Pod": pod, "a Pod whose deletion the watch has missed": cache.DeletedFinalStateUnknown{Obj: pod},
	} {
		t.Run(name, func(t *testing.T) {
			h, queued := newHarness(t), make(chan identity.Mirror, 10)
			var err error
			h.loop, err = worker.New(worker.Config[identity.Mirror]{
				Name: "test", Workers: 1, MinRetryInterval: time.Second, MaxRetryInterval: time.Second,
				Namespace: func(mirror identity.Mirror) string { return mirror.Namespace },
				Reconcile: func(_ context.Context, mirror identity.Mirror) (time.Duration, error) {
					queued <- mirror
					return 0, nil
				},
			})
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- h.loop.Run(ctx) }()
			h.podDeleted(object)
			assert.Equal(t, settings, <-queued)
			cancel()
			assert.NoError(t, <-ended)
		})
	}
}
