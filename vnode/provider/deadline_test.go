package provider

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/inventory"
)

// deadline gives a Pod an activeDeadlineSeconds.
func deadline(seconds int64) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Spec.ActiveDeadlineSeconds = &seconds }
}

// expires checks that a Pod without a cloud Pod is reported as failed because its deadline has passed.
func (h *harness) expires(pod *corev1.Pod) {
	h.t.Helper()
	h.drainEvents()
	assert.Zero(h.t, h.reconciles(pod))
	h.assertEvent("Normal DeadlineExceeded Pod was active on the node longer than the specified deadline")
	assert.Equal(h.t, corev1.PodFailed, h.status().Phase)
	assert.Equal(h.t, "DeadlineExceeded", h.status().Reason)
	assert.Equal(h.t, "Pod was active on the node longer than the specified deadline", h.status().Message)
}

func TestTheStartTimeOfAPodIsWhenTheNodeAcceptsIt(t *testing.T) {
	h := newHarness(t)
	pod := newPod("web")
	begin := h.clock
	h.cloud.fail["create"] = &cci.Error{Kind: cci.Transient}
	h.put(pod)
	for range 2 {
		_, err := h.reconcilePod(pod)
		require.Error(t, err)
		h.clock = h.clock.Add(time.Minute)
	}
	require.NotNil(t, h.status().StartTime, "a Pod that waits has one")
	assert.Equal(t, begin, h.status().StartTime.Time)
	delete(h.cloud.fail, "create")
	h.reconciles(pod)
	h.observe(pod, func(cloud *cci.Pod) bool { return cloud.Status.StartTime != nil })
	h.reconciles(pod)
	assert.Equal(t, begin, h.status().StartTime.Time, "that of the cloud Pod does not count")
}

func TestADeadlineRunsWhileAPodWaits(t *testing.T) {
	for name, wait := range map[string]func(*harness, *corev1.Pod){
		"for a ConfigMap": func(h *harness, pod *corev1.Pod) {
			configMaps("settings")(pod)
			pod.Spec.Volumes[0].ConfigMap.Optional = nil
			_, err := h.reconcilePod(h.put(pod))
			require.Error(h.t, err)
			assert.Equal(h.t, ReasonConfigError, h.status().Reason)
		},
		"for the cloud": func(h *harness, pod *corev1.Pod) {
			h.cloud.fail["create"] = &cci.Error{Kind: cci.Transient}
			_, err := h.reconcilePod(h.put(pod))
			require.Error(h.t, err)
		},
		"because the cloud refuses it": func(h *harness, pod *corev1.Pod) {
			h.cloud.fail["create"] = &cci.Error{Kind: cci.Permanent}
			h.reconciles(h.put(pod))
			assert.Equal(h.t, ReasonRefused, h.status().Reason)
		},
		"for the facts": func(h *harness, pod *corev1.Pod) {
			h.facts.ready = false
			_, err := h.reconcilePod(h.put(pod))
			require.Error(h.t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			pod := newPod("web", deadline(60))
			wait(h, pod)
			if h.reported != nil {
				pod.Status = h.status()
			}
			h.clock = h.clock.Add(59 * time.Second)
			_, _ = h.reconcilePod(pod) // It goes on waiting.
			assert.NotEqual(t, corev1.PodFailed, h.status().Phase)
			h.clock = h.clock.Add(time.Second)
			h.expires(pod)
			pod.Status = h.status()
			h.reconciles(pod)
			h.assertNoEvent()
			assert.False(t, h.isInCloud(pod))
		})
	}
}

func TestAPodIsReconciledAtItsDeadline(t *testing.T) {
	for name, test := range map[string]struct {
		fail error
	}{
		"it runs":                        {nil},
		"it waits for the cloud's retry": {&cci.Error{Kind: cci.Throttled, After: time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			queued := make(chan identity.Key, 10)
			h.rebuildLoop(func(key identity.Key) { queued <- key })
			h.cloud.fail["create"] = test.fail
			pod := h.put(newPod("web", deadline(60), func(pod *corev1.Pod) {
				pod.Status.StartTime = &metav1.Time{Time: h.clock.Add(-time.Minute + time.Millisecond)}
			}))
			_, err := h.reconcilePod(pod)
			require.ErrorIs(t, err, test.fail)
			assert.Equal(t, identity.KeyOf(pod), <-queued)
		})
	}
}

func TestADeadlineEndsTheCloudPodFirst(t *testing.T) {
	for name, patched := range map[string]bool{"from the template": false, "patched into a Pod that runs": true} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, func(c *ccisim.Config) { c.RunTime = time.Hour })
			pod := newPod("web", restart(corev1.RestartPolicyNever))
			if !patched {
				deadline(60)(pod)
			}
			cloud := h.run(pod)
			deadline(60)(pod)
			h.clock = h.clock.Add(time.Minute)

			assert.Equal(t, recheck, h.reconciles(pod))
			h.assertEvent("Normal DeadlineExceeded")
			assert.Equal(t, []cci.DeleteOptions{{UID: cloud.UID}}, h.cloud.deletions, "with the Pod's own grace period")
			assert.Nil(t, h.reported, "it runs until its containers have ended")
			h.reconciles(pod)
			h.assertNoEvent()
			assert.Len(t, h.cloud.deletions, 1)

			h.awaitGone(pod)
			ended := *cloud
			cloud = &ended
			cloud.DeletionTimestamp, cloud.Status.Phase = &metav1.Time{Time: h.clock}, corev1.PodSucceeded
			h.setCloud(cloud)
			h.reconciles(pod)
			assert.Equal(t, corev1.PodFailed, h.status().Phase, "an orderly end is not a success")
			assert.Equal(t, "DeadlineExceeded", h.status().Reason)

			h.inventory.Drop(identity.KeyOf(pod), cloud)
			h.cloudChanged(identity.KeyOf(pod), cloud, inventory.Gone)
			h.reconciles(pod)
			assert.Equal(t, "DeadlineExceeded", h.status().Reason, "the cloud Pod is not lost")
			h.assertNoEvent()
		})
	}
}

func TestADeadlineFindsACloudPodThatTheInventoryDoesNotKnow(t *testing.T) {
	h := newHarness(t)
	pod := newPod("web", deadline(60))
	cloud := h.run(pod)
	h.inventory.Drop(identity.KeyOf(pod), cloud)
	h.clock = h.clock.Add(time.Hour)
	h.cloud.fail["get"] = &cci.Error{Kind: cci.Transient}
	_, err := h.reconcilePod(pod)
	assert.Equal(t, cci.Transient, cci.KindOf(err), "without an answer it is not known that nothing runs")
	assert.Nil(t, h.reported)
	delete(h.cloud.fail, "get")
	h.reconciles(pod)
	require.Len(t, h.cloud.deletions, 1)
	assert.Equal(t, cloud.UID, h.cloud.deletions[0].UID)
}

func TestAPodThatEndedBeforeItsDeadlineHasItsOwnEnd(t *testing.T) {
	h := newHarness(t)
	pod := newPod("web", deadline(60))
	cloud := h.run(pod)
	cloud.Status.Phase = corev1.PodSucceeded
	h.setCloud(cloud)
	h.clock = h.clock.Add(time.Hour)
	h.reconciles(pod)
	assert.Equal(t, corev1.PodSucceeded, h.status().Phase)
	h.assertNoEvent()
	assert.Empty(t, h.cloud.deletions)
}
