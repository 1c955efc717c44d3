package mirror

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/services"
)

func TestTokensAreCopied(t *testing.T) {
	h := newHarness(t)
	pod := h.put(newPod("web", tokenRef("", "vault", "vault")))
	h.ensures(pod)
	mirror := identity.TokenMirror(pod)
	got := h.copyOf(mirror)
	require.NotNil(t, got)
	assert.Equal(t, map[string][]byte{
		identity.TokenKey(corev1.ServiceAccountTokenProjection{}):                  []byte("token-1-for-[]"),
		identity.TokenKey(corev1.ServiceAccountTokenProjection{Audience: "vault"}): []byte("token-2-for-[vault]"),
	}, got.Binary, "tokens of the same audience and lifetime are requested once")
	due, err := time.Parse(time.RFC3339, got.Annotations[policy.CloudRenewAnnotation])
	require.NoError(t, err)
	assert.True(t, due.After(h.clock.Add(40*time.Minute)) && due.Before(h.clock.Add(49*time.Minute)), "%s", due)
	assert.Equal(t, refresh, h.reconciles(mirror))
	h.ensures(pod)
	assert.Equal(t, 2, h.tokens, "valid tokens are not requested again")
}

func TestTokensAreRenewed(t *testing.T) {
	h := newHarness(t)
	h.lifetime = 10 * time.Minute
	pod := h.put(newPod("web", tokenRef("")))
	h.ensures(pod)
	mirror := identity.TokenMirror(pod)
	entry := h.lockListed(mirror)
	due := entry.renew
	entry.mu.Unlock()

	h.clock = due.Add(-20 * time.Second)
	assert.InDelta(t, 20*time.Second, h.reconciles(mirror), float64(time.Second), "the next time is when they are due")
	assert.Equal(t, 1, h.tokens)
	h.clock = due.Add(-time.Millisecond)
	assert.Equal(t, time.Second, h.reconciles(mirror), "the next time is not at once")
	h.clock = due
	assert.Equal(t, refresh, h.reconciles(mirror))
	assert.Equal(t, 2, h.tokens)
	for _, value := range h.copyOf(mirror).Binary {
		assert.Equal(t, "token-2-for-[]", string(value))
	}
}

func TestARestartKeepsTokens(t *testing.T) {
	h := newHarness(t)
	pod := h.put(newPod("web", tokenRef("")))
	h.ensures(pod)
	h.restart()
	h.lists()
	h.ensures(pod)
	assert.Equal(t, 1, h.tokens, "the copy in the cloud says when they are due")

	changed := h.put(newPod("web", tokenRef("vault")))
	h.ensures(changed)
	assert.Equal(t, 2, h.tokens, "a token that the copy does not have is requested")
}

func TestTokensOfPodsThatEnd(t *testing.T) {
	h := newHarness(t)
	pod := h.put(newPod("web", tokenRef("")))
	h.ensures(pod)
	mirror := identity.TokenMirror(pod)

	t.Run("stay while the service account is missing", func(t *testing.T) {
		h.pass(time.Hour)
		pod.Spec.ServiceAccountName = "missing"
		assert.Equal(t, refresh, h.reconciles(mirror))
		assert.NotNil(t, h.copyOf(mirror))
	})
	t.Run("are retried after an error of the cluster", func(t *testing.T) {
		pod.Spec.ServiceAccountName = "broken"
		_, err := h.reconcile(t.Context(), mirror)
		assert.ErrorContains(t, err, "requesting a token of serviceaccount default/broken")
	})
	t.Run("stay while the cloud Pod runs", func(t *testing.T) {
		pod.Status.Phase = corev1.PodFailed
		h.inventory.pods[identity.KeyOf(pod)] = &cci.Pod{Status: corev1.PodStatus{Phase: corev1.PodRunning}}
		assert.Equal(t, refresh, h.reconciles(mirror))
	})
	t.Run("are removed after the end", func(t *testing.T) {
		h.inventory.pods[identity.KeyOf(pod)].Status.Phase = corev1.PodSucceeded
		assert.Equal(t, removeAfter, h.reconciles(mirror))
		h.pass(removeAfter)
		assert.Zero(t, h.reconciles(mirror))
		assert.Nil(t, h.copyOf(mirror))
	})
}

func TestTokensOfAnotherPodOfTheSameNameAreRemoved(t *testing.T) {
	h := newHarness(t)
	pod := h.put(newPod("web", tokenRef("")))
	h.ensures(pod)
	h.put(newPod("web", tokenRef(""), func(pod *corev1.Pod) { pod.UID = "successor" }))
	assert.Equal(t, removeAfter, h.reconciles(identity.TokenMirror(pod)))
}

func TestWhenATokenIsRenewed(t *testing.T) {
	now := time.Unix(1e9, 0)
	for name, test := range map[string]struct{ lifetime, earliest, latest time.Duration }{
		"at four fifths of its lifetime": {time.Hour, 43 * time.Minute, 48 * time.Minute},
		"after a day at the latest":      {100 * time.Hour, 21*time.Hour + 36*time.Minute, 24 * time.Hour},
		"at once if it has expired":      {-time.Hour, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			for range 100 {
				use := renewal(now, now.Add(test.lifetime)).Sub(now)
				assert.GreaterOrEqual(t, use, test.earliest-time.Minute)
				assert.LessOrEqual(t, use, test.latest)
			}
		})
	}
}

func TestAnUnreadableRenewalTimeIsDueAtOnce(t *testing.T) {
	h := newHarness(t)
	pod := h.put(newPod("web", tokenRef("")))
	mirror := identity.TokenMirror(pod)
	meta := owner.MirrorMeta(mirror, pod.UID)
	meta.Annotations[policy.CloudRenewAnnotation] = "soon"
	h.createCopy(meta, cci.Secret, map[string]string{identity.TokenKey(corev1.ServiceAccountTokenProjection{}): "old"})
	h.lists()
	h.reconciles(mirror)
	assert.Equal(t, 1, h.tokens)
}

// kubeconfigTo returns a kubeconfig with a context for each address.
func kubeconfigTo(t *testing.T, token string, addresses ...string) string {
	t.Helper()
	content, err := services.Kubeconfig(addresses, []byte("authority"), token)
	require.NoError(t, err)
	return string(content)
}

func TestTheKubeconfigOfASidecar(t *testing.T) {
	kubeconfigOf := func(h *harness, pod *corev1.Pod) string {
		data := h.copyOf(identity.TokenMirror(pod))
		require.NotNil(t, data)
		return string(data.Binary[identity.KubeconfigKey])
	}
	t.Run("is in a Secret of the Pod, also without tokens", func(t *testing.T) {
		h := newHarness(t)
		pod := h.put(newPod("web", proxied))
		h.ensures(pod)
		assert.Equal(t, "first", kubeconfigOf(h, pod))
		assert.Zero(t, h.tokens)
		assert.Len(t, h.copyOf(identity.TokenMirror(pod)).Binary, 1)
	})
	t.Run("is next to the tokens", func(t *testing.T) {
		h := newHarness(t)
		pod := h.put(newPod("web", proxied, tokenRef("")))
		h.ensures(pod)
		assert.Equal(t, "first", kubeconfigOf(h, pod))
		assert.Len(t, h.copyOf(identity.TokenMirror(pod)).Binary, 2)
		assert.Equal(t, 1, h.tokens)
	})
	t.Run("is not in the Secret of a Pod without a sidecar", func(t *testing.T) {
		h := newHarness(t)
		pod := h.put(newPod("web", tokenRef("")))
		h.ensures(pod)
		assert.Empty(t, kubeconfigOf(h, pod))
	})
	t.Run("is renewed each hour, and written only if it has changed", func(t *testing.T) {
		h := newHarness(t)
		pod := h.put(newPod("web", proxied))
		h.ensures(pod)
		h.kubeconfig = "second"
		assert.Equal(t, refresh, h.reconciles(identity.TokenMirror(pod)))
		assert.Equal(t, "first", kubeconfigOf(h, pod))
		h.pass(kubeconfigUse)
		assert.Equal(t, refresh, h.reconciles(identity.TokenMirror(pod)))
		assert.Equal(t, "second", kubeconfigOf(h, pod))
		h.pass(kubeconfigUse)
		assert.Equal(t, refresh, h.reconciles(identity.TokenMirror(pod)))
		assert.Equal(t, 1, h.cloud.calls["update"])
	})
	t.Run("is replaced soon if it does not lead to vnode any more", func(t *testing.T) {
		first := kubeconfigTo(t, "token", "10.0.0.1:10260", "10.0.0.2:10260")
		for name, tc := range map[string]struct {
			kubeconfig string
			replaced   bool
		}{
			"the same":                    {first, false},
			"another process runs a node": {kubeconfigTo(t, "token", "10.0.0.2:10260", "10.0.0.1:10260"), false},
			"another process is there":    {kubeconfigTo(t, "token", "10.0.0.1:10260", "10.0.0.3:10260"), false},
			"vnode has another address":   {kubeconfigTo(t, "token", "10.0.0.4:10260"), true},
			"the keys were replaced":      {kubeconfigTo(t, "other", "10.0.0.1:10260"), true},
		} {
			t.Run(name, func(t *testing.T) {
				h := newHarness(t)
				pod := h.put(newPod("web", proxied))
				h.kubeconfig = first
				h.ensures(pod)
				h.kubeconfig = tc.kubeconfig
				h.restart()
				h.lists()
				h.ensures(pod)
				assert.Equal(t, first, kubeconfigOf(h, pod), "not for all Pods at once")
				h.reconciles(identity.TokenMirror(pod))
				assert.Equal(t, tc.replaced, kubeconfigOf(h, pod) == tc.kubeconfig && tc.kubeconfig != first)
			})
		}
	})
	t.Run("is that of the cloud after a restart", func(t *testing.T) {
		h := newHarness(t)
		pod := h.put(newPod("web", proxied))
		h.ensures(pod)
		h.kubeconfig = "second"
		h.restart()
		h.lists()
		h.ensures(pod)
		assert.Equal(t, "first", kubeconfigOf(h, pod))
		assert.Zero(t, h.cloud.calls["update"])
	})
	t.Run("stays when tokens are renewed while there is no other", func(t *testing.T) {
		h := newHarness(t)
		pod := h.put(newPod("web", proxied, tokenRef("")))
		h.ensures(pod)
		h.kubeconfigErr = assert.AnError
		h.pass(time.Hour)
		assert.Equal(t, refresh, h.reconciles(identity.TokenMirror(pod)))
		assert.Equal(t, 2, h.tokens)
		assert.Equal(t, "first", kubeconfigOf(h, pod))
	})
	t.Run("stays when the annotation is removed from a Pod that runs", func(t *testing.T) {
		h := newHarness(t)
		pod := h.put(newPod("web", proxied, tokenRef("")))
		h.ensures(pod)
		pod.Annotations = nil
		h.pass(time.Hour)
		assert.Equal(t, refresh, h.reconciles(identity.TokenMirror(pod)))
		assert.Equal(t, 2, h.tokens)
		assert.Equal(t, "first", kubeconfigOf(h, pod))
	})
	t.Run("without tokens it is not looked at any more then", func(t *testing.T) {
		h := newHarness(t)
		pod := h.put(newPod("web", proxied))
		h.ensures(pod)
		pod.Annotations = nil
		h.pass(time.Hour)
		assert.Equal(t, refresh, h.reconciles(identity.TokenMirror(pod)), "once in a refresh interval, not each second")
		assert.Equal(t, "first", kubeconfigOf(h, pod))
	})
	t.Run("is waited for", func(t *testing.T) {
		h := newHarness(t)
		h.kubeconfigErr = assert.AnError
		pod := h.put(newPod("web", proxied))
		assert.ErrorIs(t, h.ensureFails(pod), assert.AnError)
		h.kubeconfigErr = nil
		h.ensures(pod)
		assert.Equal(t, "first", kubeconfigOf(h, pod))
	})
}
