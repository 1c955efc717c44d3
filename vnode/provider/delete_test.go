package provider

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/inventory"
)

// podDeletions returns the options of the deletions of Pods that the API server has received.
func (h *harness) podDeletions() []metav1.DeleteOptions {
	var all []metav1.DeleteOptions
	for _, action := range h.client.Actions() {
		if deletion, ok := action.(clienttesting.DeleteActionImpl); ok && deletion.GetResource().Resource == "pods" {
			all = append(all, deletion.DeleteOptions)
		}
	}
	return all
}

// fail makes the API server respond to requests for Pods with an error.
func (h *harness) fail(verb string, err error) {
	h.client.PrependReactor(verb, "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, err
	})
}

func TestADeletedPodEndsAfterItsCloudPod(t *testing.T) {
	h := newHarness(t)
	pod := newPod("web")
	cloud := h.run(pod)
	hold := h.sim.Fault(t, ccisim.Fault{Kind: ccisim.HoldFinalizer})
	deleted(30)(pod)

	assert.Equal(t, recheck, h.reconciles(pod))
	assert.Equal(t, []cci.DeleteOptions{{UID: cloud.UID, GraceSeconds: new(int64(30))}}, h.cloud.deletions)
	h.reconciles(pod)
	assert.Len(t, h.cloud.deletions, 1, "the request is not repeated before its effect can be known")

	pod.DeletionGracePeriodSeconds = new(int64(5))
	h.reconciles(pod)
	assert.Len(t, h.cloud.deletions, 2, "a shorter grace period is passed on")

	h.observe(pod, func(cloud *cci.Pod) bool { return cloud.DeletionTimestamp != nil })
	h.reconciles(pod)
	assert.Len(t, h.cloud.deletions, 2, "the cloud Pod is already terminating")
	assert.Empty(t, h.podDeletions(), "the Pod stays while its cloud Pod exists")

	hold()
	h.awaitGone(pod)
	h.cloudChanged(identity.KeyOf(pod), cloud, inventory.Gone)
	h.inventory.Drop(identity.KeyOf(pod), cloud)
	assert.Equal(t, recheck, h.reconciles(pod))
	assert.Empty(t, h.podDeletions(), "the end of the containers is reported first")
	assert.True(t, h.status().Phase == corev1.PodSucceeded || h.status().Phase == corev1.PodFailed)
	assert.NotNil(t, h.status().ContainerStatuses[0].State.Terminated)

	pod.Status = h.status()
	assert.Equal(t, recheck, h.reconciles(pod))
	require.Len(t, h.podDeletions(), 1)
	assert.Zero(t, *h.podDeletions()[0].GracePeriodSeconds)
	assert.Equal(t, pod.UID, *h.podDeletions()[0].Preconditions.UID, "another Pod of the same name stays")
	_, err := h.client.CoreV1().Pods("default").Get(t.Context(), "web", metav1.GetOptions{})
	assert.True(t, apierrors.IsNotFound(err))
}

func TestADeletedPodThatWasNeverCreatedEndsAtOnce(t *testing.T) {
	h := newHarness(t)
	pod := h.put(newPod("web", deleted(30)))
	assert.Equal(t, recheck, h.reconciles(pod))
	assert.Equal(t, 1, h.cloud.calls["get"], "the absence is read from the cloud")
	assert.Zero(t, h.cloud.calls["delete"])
	pod.Status = h.status()
	h.reconciles(pod)
	assert.Equal(t, 1, h.cloud.calls["get"])
	assert.Len(t, h.podDeletions(), 1)
}

func TestADeletedPodWaitsWhileTheCloudDoesNotRespond(t *testing.T) {
	h := newHarness(t)
	pod := h.put(newPod("web", deleted(30)))
	h.cloud.fail["get"] = &cci.Error{Kind: cci.Transient}
	_, err := h.reconcilePod(pod)
	require.Equal(t, cci.Transient, cci.KindOf(err))
	assert.Empty(t, h.podDeletions())
}

func TestADeletionFindsACloudPodThatTheInventoryDoesNotKnow(t *testing.T) {
	h := newHarness(t)
	pod := newPod("web")
	cloud := h.run(pod)
	h.inventory.Drop(identity.KeyOf(pod), cloud)
	deleted(30)(pod)
	h.reconciles(pod)
	require.Len(t, h.cloud.deletions, 1)
	assert.Equal(t, cloud.UID, h.cloud.deletions[0].UID)
}

func TestTheLastStepOfADeletion(t *testing.T) {
	for name, test := range map[string]struct {
		grace      int64
		finalizers []string
		err        error
		deletions  int
		requeue    time.Duration
		failure    string
	}{
		"removes the Pod": {grace: 30, deletions: 1, requeue: recheck},
		"repeats a deletion that the API server has not completed": {grace: 0, deletions: 1, requeue: recheck},
		"waits for other finalizers":                               {grace: 0, finalizers: []string{"example.com/f"}},
		"requests the deletion before other finalizers are gone": {
			grace: 30, finalizers: []string{"example.com/f"}, deletions: 1, requeue: recheck,
		},
		"accepts that the Pod is gone": {
			grace: 30, err: apierrors.NewNotFound(corev1.Resource("pods"), "web"), deletions: 1, requeue: recheck,
		},
		"accepts that another Pod has the name": {
			grace: 30, err: apierrors.NewConflict(corev1.Resource("pods"), "web", errors.New("uid")),
			deletions: 1, requeue: recheck,
		},
		"reports an error of the API server": {
			grace: 30, err: apierrors.NewInternalError(errors.New("broken")), deletions: 1,
			failure: "removing pod default/web from the cluster",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			pod := h.put(newPod("web", deleted(test.grace), phase(corev1.PodSucceeded), func(pod *corev1.Pod) {
				pod.Finalizers = test.finalizers
			}))
			h.recordAbsent(identity.KeyOf(pod))
			if test.err != nil {
				h.fail("delete", test.err)
			}
			requeueAfter, err := h.reconcilePod(pod)
			if test.failure != "" {
				require.ErrorContains(t, err, test.failure)
			} else {
				require.NoError(t, err)
			}
			assert.Equal(t, test.requeue, requeueAfter)
			assert.Len(t, h.podDeletions(), test.deletions)
		})
	}
}

func TestAnOverdueDeletionIsReadFromTheCloud(t *testing.T) {
	h := newHarness(t)
	pod := newPod("web")
	cloud := h.run(pod)
	// The watch has lost the end of the cloud Pod: the inventory still has it.
	require.NoError(t, h.sim.Client.DeletePod(t.Context(), cloudtest.Namespace, cloud.Name, cci.DeleteOptions{
		GraceSeconds: new(int64(0)),
	}))
	h.awaitGone(pod)
	cloud.DeletionTimestamp, cloud.DeletionGracePeriodSeconds = &metav1.Time{Time: h.clock}, new(int64(0))
	h.setCloud(cloud)
	deleted(0)(pod)
	assert.Equal(t, recheck, h.reconciles(pod))
	assert.Zero(t, h.cloud.calls["get"], "it is not overdue yet")

	h.clock = h.clock.Add(recheck)
	h.reconciles(pod)
	assert.Equal(t, 1, h.cloud.calls["get"])
	assert.NotNil(t, h.status().ContainerStatuses[0].State.Terminated)
	assert.Nil(t, h.inventory.Get(identity.KeyOf(pod)))
}

func TestErrorsOfADeletionInTheCloud(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		gone bool // The cloud has no Pod of that name.
		ends bool
		kind cci.Kind
	}{
		"a cloud Pod that is gone ends the Pod": {err: &cci.Error{Kind: cci.NotFound}, ends: true},
		"a conflict with a cloud Pod that is gone ends it": {
			err: &cci.Error{Kind: cci.Conflict}, gone: true, ends: true,
		},
		"a conflict with a cloud Pod that exists does not": {err: &cci.Error{Kind: cci.Conflict}},
		"an error of the service is retried": {
			err: &cci.Error{Kind: cci.Transient}, kind: cci.Transient,
		},
		"too many requests are retried after a longer time": {
			err: &cci.Error{Kind: cci.Throttled}, kind: cci.Throttled,
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			pod := newPod("web")
			cloud := h.run(pod)
			deleted(30)(pod)
			h.cloud.fail["delete"] = test.err
			if test.gone {
				require.NoError(t, h.sim.Client.DeletePod(t.Context(), cloudtest.Namespace, cloud.Name,
					cci.DeleteOptions{
						GraceSeconds: new(int64(0)),
					}))
				h.awaitGone(pod)
			}
			_, err := h.reconcilePod(pod)
			assert.Equal(t, test.kind, cci.KindOf(err))
			ended := h.reported != nil && h.reported.Status.ContainerStatuses[0].State.Terminated != nil
			assert.Equal(t, test.ends, ended)
		})
	}
}

func TestACloudPodIsDeletedWhenItsPodIsGone(t *testing.T) {
	for name, test := range map[string]struct {
		cluster *corev1.Pod
		err     error
		deletes bool
		requeue time.Duration
	}{
		"the cluster does not have the Pod": {nil, nil, true, recheck},
		"the cluster has another Pod of that name": {
			newPod("web", func(pod *corev1.Pod) { pod.UID = "other" }), nil, true, recheck,
		},
		"the cluster has the Pod: the watch is late": {newPod("web"), nil, false, confirmDelay},
		"the API server does not respond":            {nil, apierrors.NewInternalError(errors.New("broken")), false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			pod := newPod("web")
			cloud := h.run(pod)
			require.NoError(t, h.store.Delete(pod))
			require.NoError(t, h.client.CoreV1().Pods("default").Delete(t.Context(), "web", metav1.DeleteOptions{}))
			if test.cluster != nil {
				require.NoError(t, h.client.Tracker().Add(test.cluster))
			}
			if test.err != nil {
				h.fail("list", test.err)
			}
			requeueAfter, err := h.reconcilePod(pod)
			assert.Equal(t, test.err != nil, err != nil)
			assert.Equal(t, test.requeue, requeueAfter)
			if !test.deletes {
				assert.Empty(t, h.cloud.deletions)
				assert.Zero(t, h.metric(h.metrics.collected))
				return
			}
			assert.Equal(t, []cci.DeleteOptions{{UID: cloud.UID, GraceSeconds: new(int64(30))}}, h.cloud.deletions)
			h.clock = h.clock.Add(recheck)
			h.reconciles(pod)
			assert.EqualValues(t, 1, h.metric(h.metrics.collected), "a repeated deletion is not counted again")

			h.awaitGone(pod)
			h.inventory.Drop(identity.KeyOf(pod), cloud)
			assert.Zero(t, h.reconciles(pod))
			assert.Empty(t, h.states, "nothing is kept of a Pod that is gone")
		})
	}
}

// An attack: a tenant deletes a Pod with a grace period of a year, then by force. Without the Pod, nothing in the
// cluster would show what the cloud bills.
func TestADeletionByForceEndsACloudPodThatTerminatesForAYear(t *testing.T) {
	h := newHarness(t)
	h.sim.Fault(t, ccisim.Fault{Kind: ccisim.HoldFinalizer})
	const year = int64(365 * 24 * 3600)
	pod := newPod("web", func(pod *corev1.Pod) { pod.Spec.TerminationGracePeriodSeconds = new(year) })
	cloud := h.run(pod)
	deleted(year)(pod)
	h.reconciles(pod)
	h.observe(pod, func(cloud *cci.Pod) bool { return cloud.DeletionTimestamp != nil })

	require.NoError(t, h.store.Delete(pod))
	require.NoError(t, h.client.CoreV1().Pods("default").Delete(t.Context(), "web", metav1.DeleteOptions{}))
	h.reconciles(pod)
	assert.Equal(t, []cci.DeleteOptions{
		{UID: cloud.UID, GraceSeconds: new(year)}, {UID: cloud.UID, GraceSeconds: new(int64(30))},
	}, h.cloud.deletions)
}

func TestTheCloudPodOfAnEndedPod(t *testing.T) {
	t.Run("is deleted while it runs", func(t *testing.T) {
		h := newHarness(t)
		pod := newPod("web")
		cloud := h.run(pod)
		phase(corev1.PodFailed)(pod) // By an eviction.
		assert.Equal(t, recheck, h.reconciles(pod))
		assert.Equal(t, []cci.DeleteOptions{{UID: cloud.UID, GraceSeconds: new(int64(30))}}, h.cloud.deletions)
		assert.Nil(t, h.reported)
	})
	t.Run("is kept for its log after its end", func(t *testing.T) {
		h := newHarness(t)
		pod := h.put(newPod("job", restart(corev1.RestartPolicyNever)))
		h.reconciles(pod)
		h.observe(pod, func(cloud *cci.Pod) bool { return cloud.Status.Phase == corev1.PodSucceeded })
		h.reconciles(pod)
		pod.Status = h.status()
		require.Equal(t, corev1.PodSucceeded, pod.Status.Phase)
		assert.Zero(t, h.reconciles(pod))
		assert.Empty(t, h.cloud.deletions)
	})
	t.Run("may be gone already", func(t *testing.T) {
		h := newHarness(t)
		assert.Zero(t, h.reconciles(h.put(newPod("web", phase(corev1.PodFailed)))))
		assert.Empty(t, h.cloud.calls)
	})
}

func TestAnEarlierDeletionCoversALaterOne(t *testing.T) {
	at := time.Unix(1e9, 0)
	seconds := func(n int64) *int64 { return &n }
	for name, test := range map[string]struct {
		earlier, later deletion
		want           bool
	}{
		"with the same grace period": {
			deletion{"a", seconds(30), at}, deletion{"a", seconds(30), at}, true,
		},
		"with a longer grace period": {
			deletion{"a", seconds(30), at}, deletion{"a", seconds(60), at}, true,
		},
		"but not with a shorter grace period": {
			deletion{"a", seconds(30), at}, deletion{"a", seconds(5), at}, false,
		},
		"with the cloud Pod's own grace period":  {deletion{"a", seconds(30), at}, deletion{"a", nil, at}, true},
		"but not if its grace period is unknown": {deletion{"a", nil, at}, deletion{"a", seconds(5), at}, false},
		"but not after a while":                  {deletion{"a", nil, at}, deletion{"a", nil, at.Add(recheck)}, false},
		"but not for another cloud Pod":          {deletion{"a", nil, at}, deletion{types.UID("b"), nil, at}, false},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, test.earlier.covers(test.later, recheck))
		})
	}
}
