package mirror

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// Cloud Pods of earlier versions refer to copies with short names.
func TestCopiesWithShortNamesAreKeptWhileTheyAreUsed(t *testing.T) {
	h := newHarness(t)
	source := h.addConfigMap("settings", map[string]string{"a": "1"})
	pod := h.put(newPod("web", configMapRef("settings", false), tokenRef("")))
	shortSettings, shortToken := settings, identity.TokenMirror(pod)
	shortSettings.Short, shortToken.Short = true, true
	h.createCopy(owner.MirrorMeta(shortSettings, source.UID), cci.ConfigMap, map[string]string{"a": "1"})
	h.createCopy(owner.MirrorMeta(shortToken, pod.UID), cci.Secret, map[string]string{"token-old": "t"})
	h.inventory.uses(cci.ConfigMapObject, owner.MirrorName(shortSettings))
	h.inventory.uses(cci.SecretObject, owner.MirrorName(shortToken))
	h.inventory.pods[identity.KeyOf(pod)] = &cci.Pod{}
	h.restart()
	h.lists()
	assert.ElementsMatch(t, []identity.Mirror{shortSettings, shortToken}, h.Mirrors.known())

	source.Data = map[string]string{"a": "2"}
	h.updateConfigMap(source)
	assertRefresh(t, h.reconciles(shortSettings))
	assert.Equal(t, "2", h.copyOf(shortSettings).Text["a"], "running Pods see the change")
	h.reconciles(shortToken)
	assert.Equal(t, 1, h.tokens, "their tokens are renewed")
	h.ensures(h.put(newPod("new", configMapRef("settings", false))))
	assert.Equal(t, "2", h.copyOf(settings).Text["a"], "new Pods have a copy of their own")

	clear(h.inventory.refers)
	for _, mirror := range []identity.Mirror{shortSettings, shortToken} {
		assert.Equal(t, removeAfter, h.reconciles(mirror))
	}
	h.pass(removeAfter)
	for _, mirror := range []identity.Mirror{shortSettings, shortToken} {
		assert.Zero(t, h.reconciles(mirror))
		assert.Nil(t, h.copyOf(mirror))
	}
	assert.NotNil(t, h.copyOf(settings))
}
