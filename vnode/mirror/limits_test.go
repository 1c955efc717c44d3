package mirror

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// newLimited returns Mirrors with limits.
func newLimited(t *testing.T, limits Limits) *harness {
	t.Helper()
	h := newHarness(t)
	config := h.config()
	config.Limits = limits
	var err error
	h.Mirrors, err = New(config)
	require.NoError(t, err)
	h.store = config.Pods.GetIndexer()
	return h
}

// limited requires that Ensure fails for a limit.
func (h *harness) limited(pod *corev1.Pod) *Limited {
	h.t.Helper()
	err, ok := errors.AsType[*Limited](h.ensureFails(pod))
	require.True(h.t, ok)
	return err
}

// An attack: one Pod refers to more than the workers should copy for it.
func TestAPodThatRefersToTooMuchIsRefused(t *testing.T) {
	many := func(pod *corev1.Pod) {
		for i := range 6 {
			configMapRef(fmt.Sprint("c", i), true)(pod)
		}
	}
	for name, change := range map[string]func(*corev1.Pod){
		"objects": many,
		"tokens":  tokenRef("a", "b", "c", "d", "e", "f"),
	} {
		t.Run(name, func(t *testing.T) {
			h := newLimited(t, Limits{ObjectsPerPod: 5, ObjectsPerNamespace: 100, BytesPerNamespace: 1 << 20})
			pod := h.put(newPod("web", change))
			err := h.limited(pod)
			assert.True(t, err.Permanent)
			assert.Equal(t, "the Pod refers to 6 ConfigMaps, Secrets, claims and tokens, and the cloud may have copies of 5 "+
				"for one Pod (pods.mirrorLimits.objectsPerPod)", err.Message)
			assert.Empty(t, h.Mirrors.known(), "nothing is kept of them")
			assert.Zero(t, h.tokens)
			h.podDeleted(pod)
		})
	}
}

// An attack: the Pods of one namespace refer to more and more objects.
func TestANamespaceWithTooManyObjectsWaits(t *testing.T) {
	h := newLimited(t, Limits{ObjectsPerPod: 5, ObjectsPerNamespace: 2, BytesPerNamespace: 1 << 20})
	first := h.put(newPod("first", configMapRef("a", true), configMapRef("b", true), tokenRef("")))
	h.ensures(first)
	h.ensures(h.put(newPod("second", configMapRef("a", true), tokenRef(""))))
	third := h.put(newPod("third", configMapRef("c", true)))
	err := h.limited(third)
	assert.False(t, err.Permanent)
	assert.Equal(t, `namespace "default" has copies of 2 ConfigMaps, Secrets and claims in the cloud, which is the limit `+
		"(pods.mirrorLimits.objectsPerNamespace)", err.Message)
	other := newPod("other", configMapRef("c", true))
	other.Namespace = "other"
	h.ensures(h.put(other))

	h.removePod(first)
	assert.Zero(t, h.reconciles(mirrorOf(identity.MirrorConfigMap, "b")))
	h.ensures(third)
}

// An attack: the objects of one namespace are large, or grow.
func TestANamespaceWithTooManyBytesWaits(t *testing.T) {
	h := newLimited(t, Limits{ObjectsPerPod: 5, ObjectsPerNamespace: 100, BytesPerNamespace: 3000})
	text := func(bytes int) map[string]string { return map[string]string{"a": strings.Repeat("x", bytes-1)} }
	source := h.addConfigMap("settings", text(1000))
	h.addConfigMap("large", text(2001))
	pod := h.put(newPod("web", configMapRef("settings", false)))
	h.ensures(pod)
	large := h.put(newPod("large", configMapRef("large", false)))
	err := h.limited(large)
	assert.False(t, err.Permanent)
	assert.Equal(t, `ConfigMap default/large has 1 KiB: with it the copies of namespace "default" in the cloud would `+
		"have more than 2 KiB, which is the limit (pods.mirrorLimits.bytesPerNamespace)", err.Message)
	assert.Nil(t, h.copyOf(mirrorOf(identity.MirrorConfigMap, "large")))

	source.Data = text(3001)
	h.updateConfigMap(source)
	_, failed := h.reconcile(t.Context(), settings)
	require.ErrorContains(t, failed, "bytesPerNamespace")
	assert.Len(t, h.copyOf(settings).Text["a"], 999, "the copy stays as it was")
	source.Data = text(999)
	h.updateConfigMap(source)
	h.reconciles(settings)
	h.cloud.fail["create"] = &cci.Error{Kind: cci.Transient}
	h.ensureFails(large)
	delete(h.cloud.fail, "create")
	h.ensures(large)
	assert.Equal(t, map[string]used{"default": {2, 3000}}, h.used, "a write that failed does not count")

	h.restart()
	h.lists()
	assert.Equal(t, map[string]used{"default": {2, 3000}}, h.used)
	for _, pod := range []*corev1.Pod{pod, large} {
		h.removePod(pod)
	}
	for _, mirror := range h.Mirrors.known() {
		h.reconciles(mirror)
		h.pass(removeAfter)
		h.reconciles(mirror)
	}
	assert.Empty(t, h.used)
}

// An attack: a tenant changes a ConfigMap again and again.
func TestManyChangesOfASourceCostOneWrite(t *testing.T) {
	h := newHarness(t)
	source := h.addConfigMap("settings", map[string]string{"a": "0"})
	h.ensures(h.put(newPod("web", configMapRef("settings", false))))
	for i := range 20 {
		source.Data = map[string]string{"a": fmt.Sprint(i)}
		_, err := h.cluster.CoreV1().ConfigMaps("default").Update(t.Context(), source, metav1.UpdateOptions{})
		require.NoError(t, err)
	}
	h.pass(time.Minute)
	assertRefresh(t, h.reconciles(settings))
	assert.Equal(t, 1, h.cloud.calls["update"])
}
