package soldout

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

var errQuota = &cci.Error{
	Kind: cci.QuotaExceeded, Status: 403, Message: "exceeded quota: compute-resources, used: pods=50",
}

// refuse adds a Pod for which a quota has no room now.
func (h *harness) refuse(name string, changes ...func(*corev1.Pod)) *corev1.Pod {
	h.t.Helper()
	pod := h.wait(name, "", changes...)
	delete(h.cloud.pods, identity.KeyOf(pod))
	h.refusals[identity.KeyOf(pod)] = h.clock
	return pod
}

// exhaust has the node locked for a quota.
func (h *harness) exhaust(changes ...func(*corev1.Pod)) *corev1.Pod {
	h.t.Helper()
	h.reconciles()
	h.cloud.createErr = errQuota
	pod := h.refuse("web", changes...)
	h.reconciles()
	h.assertLockedForQuota()
	return pod
}

func (h *harness) assertLockedForQuota() {
	h.t.Helper()
	assert.True(h.t, h.node().Spec.Unschedulable)
	assert.Contains(h.t, h.node().Annotations, policy.SoldOutUntilAnnotation)
	message := h.assertCondition(corev1.ConditionTrue, ReasonQuota)
	assert.Contains(h.t, message, "a probe of size 0.25_0.5 is refused: ")
	assert.Contains(h.t, message, "exceeded quota: compute-resources, used: pods=50", "it has the message of the cloud")
}

func TestAQuotaThatIsUsedUpLocksTheNode(t *testing.T) {
	h := newHarness(t)
	h.exhaust()
	assert.EqualValues(t, 1, testutil.ToFloat64(h.metrics.locks))
	assert.EqualValues(t, 1, testutil.ToFloat64(h.metrics.refused))
	assert.EqualValues(t, 1, testutil.ToFloat64(h.metrics.locked))
	assert.Zero(t, h.cloud.created, "a refused probe costs nothing")
	require.Len(t, h.evictions, 1, "the Pod goes elsewhere, as from a cloud that is sold out")
	assert.Contains(t, h.events(), "Warning CloudQuota the Pod is evicted to be scheduled elsewhere: "+
		"a quota of the cloud has no room for it")
}

func TestALockForAQuotaLastsUntilTheCloudAcceptsAProbe(t *testing.T) {
	h := newHarness(t)
	h.exhaust()
	h.passes(10 * timeout)
	h.assertLockedForQuota()
	assert.LessOrEqual(t, testutil.ToFloat64(h.metrics.probes), float64(2*10+1))
	assert.EqualValues(t, 1, testutil.ToFloat64(h.metrics.locks), "it is one lock")
	assert.Zero(t, h.retried)

	h.cloud.createErr = nil
	h.passes(timeout)
	h.assertUnlocked(ReasonQuotaHasRoom)
	assert.Equal(t, 1, h.retried, "Pods that wait are tried at once")
	h.reconciles()
	assert.Nil(t, h.cloud.probe)
	h.passes(10 * timeout)
	assert.Equal(t, 1, h.cloud.created, "no probe is needed before a Pod is refused again")

	h.cloud.createErr = errQuota
	h.refuse("next")
	h.reconciles()
	h.assertLockedForQuota()
}

// A Pod that is larger than what is left of the quota says nothing about others.
func TestAQuotaThatHasRoomForTheProbeLocksNothing(t *testing.T) {
	for name, changes := range map[string][]func(*corev1.Pod){
		"a Pod of a workload":     nil,
		"a Pod without an owner":  {bare},
		"a Pod of another tenant": {of("attacker")},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.reconciles()
			h.refuse("large", changes...)
			h.passes(10 * timeout)
			assert.False(t, h.node().Spec.Unschedulable)
			assert.Empty(t, h.evictions)
			assert.Nil(t, h.cloud.probe)
			assert.LessOrEqual(t, h.cloud.created, 1, "one probe for each refusal")
		})
	}
}

func TestAPodWithoutAnOwnerCausesNoProbeForAQuota(t *testing.T) {
	h := newHarness(t)
	h.cloud.createErr = errQuota
	h.reconciles()
	h.refuse("bare", bare)
	h.passes(10 * timeout)
	assert.Zero(t, testutil.ToFloat64(h.metrics.probes))
	assert.False(t, h.node().Spec.Unschedulable)
}

// Pods that the cloud accepted before the quota was used up still get their addresses.
func TestAnAddressDoesNotEndALockForAQuota(t *testing.T) {
	h := newHarness(t)
	h.reconciles()
	before := h.wait("before", "")
	h.exhaust()
	h.place(before)
	h.reconciles()
	h.assertLockedForQuota()
}

func TestUncordoningEndsALockForAQuotaUntilAPodIsRefusedAgain(t *testing.T) {
	h := newHarness(t)
	h.exhaust()
	h.setNode(func(node *corev1.Node) { node.Spec.Unschedulable = false })
	h.pass(timeout)
	h.reconciles()
	h.assertUnlocked(ReasonUncordoned)
	h.passes(3 * timeout)
	h.assertUnlocked(ReasonUncordoned)
	h.refuse("web-2")
	h.reconciles()
	h.assertLockedForQuota()
}

func TestALockForAQuotaOutlivesAProcess(t *testing.T) {
	h := newHarness(t)
	h.exhaust()
	h.restart()
	h.reconciles()
	h.passes(timeout)
	h.assertLockedForQuota()
	h.cloud.createErr = nil
	h.passes(timeout)
	h.assertUnlocked(ReasonQuotaHasRoom)
}

func TestWithoutAProbeALockForAQuotaNeedsTwoNamespaces(t *testing.T) {
	h := newHarness(t, withoutProbe)
	h.reconciles()
	h.refuse("web")
	h.passes(3 * timeout)
	assert.False(t, h.node().Spec.Unschedulable)
	h.refuse("web-2", of("other"))
	h.refusals[identity.KeyOf(h.refuse("web"))] = h.clock
	h.reconciles()
	assert.Contains(t, h.assertLocked(), "a quota has no room for Pods of 2 namespaces")
	h.passes(firstLock)
	h.assertUnlocked(ReasonLockEnded)
}

// Whatever Pods one tenant has refused, the node stays open while the quota has room for a small Pod.
func TestOneTenantBeyondAQuotaNeverLocksTheNodeInAnyHistory(t *testing.T) {
	for seed := range uint64(4) {
		h := newHistory(t, seed)
		for i := range 200 {
			if h.random.IntN(2) == 0 {
				h.refuse(fmt.Sprintf("refused-%d", i), of("attacker"), sized(large))
			}
			for key := range h.refusals {
				switch h.random.IntN(8) {
				case 0:
					delete(h.refusals, key)
				case 1:
					h.refusals[key] = h.clock
				}
			}
			h.advance()
			require.False(t, h.isLocked(), "seed %d", seed)
		}
		assert.LessOrEqual(t, h.cloud.created, 200/12+1, "seed %d: the probes are few", seed)
	}
}
