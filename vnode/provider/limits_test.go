package provider

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/inventory"
)

// counted is a Pod to which the extender has given a slot of the default size, as it says.
func counted(pod *corev1.Pod) {
	slot := policy.CloudSlot{Flavor: sizes.Flavor{MilliCPU: 500, MilliGiB: 1000}}
	pod.Annotations = map[string]string{policy.CloudSlotAnnotation: slot.Value(pod)}
}

func (h *harness) limit(text string) {
	h.facts.annotations["default"] = map[string]string{policy.CloudLimitsAnnotation: text}
}

func TestAPodNeedsASlotOfItsOwnSize(t *testing.T) {
	const notCounted = policy.BoundUncounted
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		want   string
	}{
		"none": {func(*corev1.Pod) {}, notCounted},
		"that of another Pod": {func(pod *corev1.Pod) {
			counted(pod)
			pod.UID = "another"
		}, notCounted},
		"a smaller one": {func(pod *corev1.Pod) {
			counted(pod)
			size := sizes.Flavor{MilliCPU: 500, MilliGiB: 2000}
			pod.Spec.Containers[0].Resources.Requests = size.Resources()
		}, "it was counted with size 0.50_1.0, was changed later, and needs 0.50_2.0"},
		"a forged one": {func(pod *corev1.Pod) {
			pod.Annotations = map[string]string{policy.CloudSlotAnnotation: string(pod.UID)}
		}, notCounted},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.limit("pods=10")
			pod := h.put(newPod("web", test.change, restart(corev1.RestartPolicyNever)))
			assert.Equal(t, refusalRetry, h.reconciles(pod))
			h.assertEvent("Warning NotCounted", policy.NotCounted(test.want).Sentence, "if you delete the Pod")
			assert.Equal(t, corev1.PodPending, h.status().Phase, "it waits, whatever its restartPolicy")
			assert.Zero(t, h.cloud.calls["create"])
		})
	}
}

func TestTheLimitsHoldForTheNode(t *testing.T) {
	for _, limits := range []string{"pods=2", "cpu=1", "memory=2Gi"} {
		t.Run(limits, func(t *testing.T) {
			h := newHarness(t)
			h.limit(limits)
			first, second := newPod("first", counted), newPod("second", counted)
			third := h.put(newPod("third", counted, restart(corev1.RestartPolicyNever)))
			h.run(first)
			// The creation of the second may have succeeded: it counts until it is known.
			h.put(second)
			h.cloud.fail["create"] = &cci.Error{Kind: cci.Transient}
			_, err := h.reconcilePod(second)
			require.Error(t, err)
			delete(h.cloud.fail, "create")
			h.reconciles(third)
			h.assertEvent("Warning CloudLimitsReached", h.rules.CloudLimitsReached(third).Sentence)
			assert.Equal(t, corev1.PodPending, h.status().Phase, "it waits, whatever its restartPolicy")

			h.clock = h.clock.Add(time.Minute)
			h.reconciles(second)
			h.assertEvent("CloudPodCreated")
			h.reconciles(third)
			h.assertNoEvent()

			// What exists stays when the limits are lowered, and room is given when a Pod ends.
			queued := make(chan identity.Key, 10)
			h.rebuildLoop(func(key identity.Key) { queued <- key })
			h.limit("pods=1")
			h.reconciles(first)
			assert.Empty(t, h.cloud.deletions)
			h.limit(limits)
			gone := h.inventory.Get(identity.KeyOf(first))
			h.inventory.Drop(identity.KeyOf(first), gone)
			h.cloudChanged(identity.KeyOf(first), gone, inventory.Gone)
			assert.ElementsMatch(t, []identity.Key{identity.KeyOf(first), identity.KeyOf(third)},
				[]identity.Key{<-queued, <-queued})
			h.reconciles(third)
			h.assertEvent("CloudPodCreated")
		})
	}
}

func TestAReservationEndsWithItsPod(t *testing.T) {
	h := newHarness(t)
	h.limit("pods=1")
	first, second := h.put(newPod("first", counted)), h.put(newPod("second", counted))
	h.cloud.fail["create"] = &cci.Error{Kind: cci.Transient}
	_, err := h.reconcilePod(first)
	require.Error(t, err)
	h.reconciles(second)
	h.assertEvent("CloudLimitsReached")
	require.NoError(t, h.store.Delete(first))
	h.reconciles(first)
	delete(h.cloud.fail, "create")
	h.reconciles(second)
	h.assertEvent("CloudPodCreated")
}
