package provider

import (
	"encoding/json"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/spillway-k8s/spillway/vnode/identity"
)

// versioned makes the fake API server count versions, and refuse patches for another one than the present.
func (h *harness) versioned(pod *corev1.Pod) (conflicts *int) {
	conflicts = new(int)
	now := pod.DeepCopy()
	h.client.PrependReactor("patch", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		var patch corev1.Pod
		require.NoError(h.t, json.Unmarshal(action.(clienttesting.PatchAction).GetPatch(), &patch))
		if patch.ResourceVersion != now.ResourceVersion {
			*conflicts++
			return true, nil, apierrors.NewConflict(corev1.Resource("pods"), now.Name, nil)
		}
		version, err := strconv.Atoi(now.ResourceVersion)
		require.NoError(h.t, err)
		now.ResourceVersion, now.Status.Phase = strconv.Itoa(version+1), patch.Status.Phase
		return true, now.DeepCopy(), nil
	})
	return conflicts
}

func (h *harness) writePhase(pod *corev1.Pod, phase corev1.PodPhase) *corev1.Pod {
	h.t.Helper()
	wanted := pod.DeepCopy()
	wanted.Status.Phase = phase
	written, err := h.PodsGetter().Pods("default").UpdateStatus(h.t.Context(), wanted, metav1.UpdateOptions{})
	require.NoError(h.t, err)
	return written.DeepCopy()
}

func TestStatusesThatFollowEachOtherBeforeTheWatchShowsThemDoNotConflict(t *testing.T) {
	h := newHarness(t)
	pod := h.put(newPod("web", phase("")))
	key, conflicts := identity.KeyOf(pod), h.versioned(pod)
	second := h.writePhase(pod, corev1.PodPending)
	h.writePhase(pod, corev1.PodUnknown)
	h.writePhase(pod, corev1.PodRunning)
	assert.Zero(t, *conflicts)
	assert.Equal(t, corev1.PodRunning, h.pod(key).Status.Phase, "the provider reads what it has written")

	require.NoError(t, h.store.Update(second))
	assert.Equal(t, corev1.PodRunning, h.pod(key).Status.Phase, "the watch shows the first of three writes")
	newer := second.DeepCopy()
	newer.ResourceVersion, newer.Status.Phase = "17", corev1.PodFailed
	require.NoError(t, h.store.Update(newer))
	assert.Equal(t, corev1.PodFailed, h.pod(key).Status.Phase, "another client has written since")
	assert.Empty(t, h.written, "and nothing is kept")
}

func TestNothingIsKeptOfAWriteThatTheWatchHasShown(t *testing.T) {
	h := newHarness(t)
	pod := h.put(newPod("web", phase("")))
	h.versioned(pod)
	h.client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		shown := pod.DeepCopy()
		shown.ResourceVersion, shown.Status.Phase = "2", corev1.PodPending
		return false, nil, h.store.Update(shown) // Before the answer to the patch arrives.
	})
	h.writePhase(pod, corev1.PodPending)
	assert.Empty(t, h.written)
}

func TestNothingIsKeptOfAPodThatIsGone(t *testing.T) {
	for name, gone := range map[string]func(*harness, *corev1.Pod) error{
		"deleted": func(h *harness, pod *corev1.Pod) error { return h.store.Delete(pod) },
		"replaced by one of the same name": func(h *harness, pod *corev1.Pod) error {
			return h.store.Update(newPod("web", func(pod *corev1.Pod) { pod.UID = "successor" }))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			pod := h.put(newPod("web", phase("")))
			h.versioned(pod)
			h.writePhase(pod, corev1.PodPending)
			require.Len(t, h.written, 1)
			require.NoError(t, gone(h, pod))
			assert.Nil(t, h.pod(identity.KeyOf(pod)))
			assert.Empty(t, h.written)
		})
	}
}
