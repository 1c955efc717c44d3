package soldout

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

func TestTheProbeIsTheSmallestPod(t *testing.T) {
	for version, size := range map[policy.CCIVersion]string{policy.CCI2: smallest, policy.CCI1: "0.25_1.0"} {
		t.Run(string(version), func(t *testing.T) {
			translator, err := translate.New(translate.Config{
				Version: version, Owner: owner, DefaultSize: "0.50_1.0",
				ImagePrefixes: []translate.ImagePrefix{{From: "pause", To: "mirror/pause"}},
			})
			require.NoError(t, err)
			probe, err := NewProbe(translator, owner, "pause")
			require.NoError(t, err)
			assert.Equal(t, size, translate.SizeOf(probe))
			assert.Equal(t, "mirror/pause", probe.Spec.Containers[0].Image)
			assert.Equal(t, corev1.RestartPolicyNever, probe.Spec.RestartPolicy)
			assert.Equal(t, int64(probeDeadline.Seconds()), *probe.Spec.ActiveDeadlineSeconds)
			assert.Empty(t, probe.Spec.Volumes, "it has no token and no data")
			_, _, ofUser := identity.OfPod(probe)
			assert.False(t, ofUser, "it never counts as the Pod of a user")
			by, is := identity.OfProbe(probe)
			assert.True(t, is)
			assert.Equal(t, owner, by)
		})
	}
}

// The cloud may not show a sign, so the probe has half of the timeout, and so has the Pod before it.
func TestTheProbeIsCreatedAfterHalfOfTheTimeout(t *testing.T) {
	h := newHarness(t)
	h.cloud.soldOut = true
	h.reconciles()
	h.wait("web", "")
	h.reconciles()
	h.passes(timeout/2 - timeout/12)
	assert.Zero(t, h.cloud.created)
	h.passes(timeout / 12)
	assert.Equal(t, 1, h.cloud.created)
	assert.EqualValues(t, 1, testutil.ToFloat64(h.metrics.probes))
	h.passes(timeout/2 - timeout/12)
	h.assertUnlocked(ReasonHasRoom)
	h.passes(timeout / 12)
	h.assertLocked()
	h.reconciles()
	assert.Nil(t, h.cloud.probe)
}

func TestAProbeFindsRoom(t *testing.T) {
	for name, change := range map[string]func(*corev1.PodStatus){
		"with an address":          func(s *corev1.PodStatus) { s.PodIP = "10.0.0.9" },
		"with a condition":         func(s *corev1.PodStatus) { s.Conditions = scheduledCondition },
		"while it pulls its image": func(s *corev1.PodStatus) { s.ContainerStatuses = pulling },
		"when it runs":             func(s *corev1.PodStatus) { s.Phase = corev1.PodRunning },
		"when its deadline ends":   func(s *corev1.PodStatus) { s.Phase = corev1.PodFailed },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.cloud.soldOut = true
			h.reconciles()
			h.wait("large", "", sized(large))
			h.reconciles()
			h.passes(timeout / 2)
			require.NotNil(t, h.cloud.probe)
			change(&h.cloud.probe.Status)
			h.reconciles()
			assert.Nil(t, h.cloud.probe, "it is deleted at once")
			h.passes(probePause*timeout - timeout/6)
			assert.Equal(t, 1, h.cloud.created, "the next one comes later")
			h.passes(timeout / 6)
			assert.Equal(t, 2, h.cloud.created)
			assert.Zero(t, testutil.ToFloat64(h.metrics.locks))
		})
	}
}

var pulling = []corev1.ContainerStatus{{Name: "probe"}}

var scheduledCondition = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}

func TestAProbeIsDeletedWhenItIsNotNeeded(t *testing.T) {
	for name, change := range map[string]func(*harness, *corev1.Pod){
		"because the Pod is gone":        func(h *harness, pod *corev1.Pod) { delete(h.cloud.pods, identity.KeyOf(pod)) },
		"because the Pod has an address": func(h *harness, pod *corev1.Pod) { h.place(pod) },
		"because another Pod has an address": func(h *harness, _ *corev1.Pod) {
			other := h.wait("other", "")
			h.reconciles()
			h.place(other)
		},
		"because the networks are the cause": func(h *harness, _ *corev1.Pod) {
			h.cloud.networks = nil
			h.passes(timeout / 2)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.cloud.soldOut = true
			h.reconciles()
			pod := h.wait("web", "")
			h.reconciles()
			h.passes(timeout / 2)
			require.NotNil(t, h.cloud.probe)
			change(h, pod)
			h.reconciles()
			assert.Nil(t, h.cloud.probe)
		})
	}
}

// A process that has crashed left its probe, with a probe configured or not.
func TestAProbeThatIsLeftIsDeleted(t *testing.T) {
	for name, change := range map[string]func(*Config){"with a probe": func(*Config) {}, "without a probe": withoutProbe} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, change)
			h.cloud.probe = &cci.Pod{ObjectMeta: metav1.ObjectMeta{Name: owner.ProbeName()}}
			h.cloud.deleteErr = &cci.Error{Kind: cci.Transient, Message: "away"}
			require.ErrorContains(t, h.reconcile(t.Context()), "deleting the sold-out probe: away")
			h.cloud.deleteErr = nil
			h.reconciles()
			assert.Nil(t, h.cloud.probe)
			h.reconciles()
			assert.Equal(t, 1, h.cloud.deleted)
		})
	}
}

// A probe that a former process left has waited for a time that is not known.
func TestAProbeThatIsLeftDoesNotLockTheNodeAtOnce(t *testing.T) {
	h := newHarness(t)
	h.cloud.probe = &cci.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: owner.ProbeName()}, Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	h.cloud.soldOut = true
	h.wait("web", "SoldOut")
	h.reconciles()
	h.passes(timeout / 3)
	assert.Zero(t, testutil.ToFloat64(h.metrics.locks))
	h.passes(timeout / 3)
	h.assertLocked()
}

func TestErrorsOfAProbe(t *testing.T) {
	away := &cci.Error{Kind: cci.Transient, Message: "away"}
	needed := func(t *testing.T) *harness {
		h := newHarness(t)
		h.reconciles()
		h.wait("web", "")
		h.reconciles()
		h.cloud.soldOut = true
		h.pass(timeout / 2)
		return h
	}
	t.Run("a creation that fails is tried again later, and does not lock the node", func(t *testing.T) {
		h := needed(t)
		h.cloud.createErr = away
		require.ErrorContains(t, h.reconcile(t.Context()), "creating the sold-out probe: away")
		h.passes(probePause*timeout - timeout/12)
		assert.EqualValues(t, 1, testutil.ToFloat64(h.metrics.probes))
		h.pass(timeout / 12)
		require.Error(t, h.reconcile(t.Context()))
		assert.EqualValues(t, 2, testutil.ToFloat64(h.metrics.probes))
		assert.Zero(t, testutil.ToFloat64(h.metrics.locks))
	})
	t.Run("a creation whose answer is lost leaves no probe behind", func(t *testing.T) {
		h := needed(t)
		h.cloud.createErr, h.cloud.lost = away, true
		require.Error(t, h.reconcile(t.Context()))
		require.NotNil(t, h.cloud.probe)
		clear(h.cloud.pods)
		h.reconciles()
		assert.Nil(t, h.cloud.probe)
	})
	t.Run("a probe that is being deleted does not count", func(t *testing.T) {
		h := needed(t)
		h.reconciles()
		h.cloud.probe.DeletionTimestamp = &metav1.Time{Time: h.clock}
		h.passes(2 * timeout)
		assert.Zero(t, testutil.ToFloat64(h.metrics.locks))
		h.cloud.probe = nil
		h.passes(2 * timeout)
		assert.Equal(t, 2, h.cloud.created)
		h.assertLocked()
	})
	t.Run("a probe that cannot be read does not lock the node", func(t *testing.T) {
		h := needed(t)
		h.reconciles()
		h.cloud.getErr = away
		h.pass(timeout)
		require.ErrorContains(t, h.reconcile(t.Context()), "reading the sold-out probe: away")
		assert.Zero(t, testutil.ToFloat64(h.metrics.locks))
	})
}
