package provider

import (
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"github.com/spillway-k8s/spillway/internal/worker"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

func TestAPodIsCreatedInTheCloud(t *testing.T) {
	h := newHarness(t)
	pod := h.put(newPod("web"))

	assert.Zero(t, h.reconciles(pod), "the watch of the cloud queues the Pod")
	h.assertEvent("Normal CloudPodCreated", identity.CloudName(identity.KeyOf(pod)), "0.50_1.0")
	assert.Equal(t, corev1.PodPending, h.status().Phase)
	assert.Equal(t, "ContainerCreating", h.status().ContainerStatuses[0].State.Waiting.Reason)
	assert.Equal(t, 1, testutil.CollectAndCount(h.metrics.creation))

	cloud := h.observe(pod, func(cloud *cci.Pod) bool { return cloud.Status.Phase == corev1.PodRunning })
	key, ok := owner.Owns(cloud)
	assert.True(t, ok, "the cloud Pod has the marks of its owner")
	assert.Equal(t, identity.KeyOf(pod), key)
	h.reconciles(pod)
	assert.Equal(t, corev1.PodRunning, h.status().Phase)
	assert.Equal(t, cloud.Status.PodIP, h.status().PodIP)
	assert.Equal(t, "10.0.0.1", h.status().HostIP)

	pod.Status, h.reported = h.status(), nil
	h.reconciles(pod)
	assert.Nil(t, h.reported, "a status that is known already is not reported again")
	assert.Equal(t, 1, h.cloud.calls["create"])
}

func TestDifferencesOfTheCloudPodAreReported(t *testing.T) {
	h := newHarness(t)
	h.reconciles(h.put(newPod("web", func(pod *corev1.Pod) {
		pod.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8080}}
	})))
	events := h.drainEvents()
	require.Len(t, events, 2)
	assert.Contains(t, events[1], "Warning CloudPodDiffers The cloud Pod differs: ")
}

func TestAnExistingCloudPodIsAdopted(t *testing.T) {
	for name, lose := range map[string]func(*harness, *corev1.Pod){
		"after a restart": func(h *harness, pod *corev1.Pod) {
			result, reason, _ := h.translate(pod, translate.Cluster{})
			require.Empty(h.t, reason)
			_, err := h.sim.Client.CreatePod(h.t.Context(), cloudtest.Namespace, result.Pod)
			require.NoError(h.t, err)
		},
		"after a lost response": func(h *harness, pod *corev1.Pod) {
			h.sim.Fault(h.t, ccisim.Fault{Kind: ccisim.LoseAnswer, Verb: "create", Times: 1})
			_, err := h.reconcilePod(pod)
			require.Error(h.t, err)
			h.clock = h.clock.Add(time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			pod := h.put(newPod("web"))
			lose(h, pod)
			assert.Zero(t, h.reconciles(pod))
			h.assertEvent("Normal CloudPodAdopted", "Found existing cloud Pod")
			assert.EqualValues(t, 1, h.metric(h.metrics.adopted))
			assert.NotNil(t, h.inventory.Get(identity.KeyOf(pod)))
			assert.Len(t, h.sim.PodsEver(), 1, "no second cloud Pod is created")
		})
	}
}

func TestAForeignCloudPodIsNotAdopted(t *testing.T) {
	for name, change := range map[string]func(*cci.Pod){
		"of another node": func(pod *cci.Pod) {
			identity.Owner{ClusterID: owner.ClusterID, Node: "other"}.Mark(&pod.ObjectMeta, identity.KeyOf(newPod("web")))
		},
		"of another Pod":     func(pod *cci.Pod) { owner.Mark(&pod.ObjectMeta, identity.KeyOf(newPod("other"))) },
		"without an owner":   func(pod *cci.Pod) { delete(pod.Annotations, policy.CloudNodeAnnotation) },
		"of another cluster": func(pod *cci.Pod) { pod.Annotations[policy.CloudClusterKey] = "other" },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			pod := h.put(newPod("web"))
			result, reason, _ := h.translate(pod, translate.Cluster{})
			require.Empty(t, reason)
			change(result.Pod)
			_, err := h.sim.Client.CreatePod(t.Context(), cloudtest.Namespace, result.Pod)
			require.NoError(t, err)

			_, err = h.reconcilePod(pod)
			require.ErrorContains(t, err, "its annotations name another pod")
			h.assertNoEvent()
			assert.Nil(t, h.inventory.Get(identity.KeyOf(pod)))
			assert.Empty(t, h.cloud.deletions)
		})
	}
}

func TestAnAdoptedPodThatIsGoneIsRetried(t *testing.T) {
	h := newHarness(t)
	pod := h.put(newPod("web"))
	h.cloud.fail["create"] = &cci.Error{Kind: cci.AlreadyExists, Status: 409}
	_, err := h.reconcilePod(pod)
	require.ErrorContains(t, err, "existed a moment ago and is gone")
	h.cloud.fail["get"] = &cci.Error{Kind: cci.Transient}
	h.clock = h.clock.Add(time.Minute)
	_, err = h.reconcilePod(pod)
	assert.Equal(t, cci.Transient, cci.KindOf(err))
}

func TestAPodThatCannotRunInTheCloudIsRefused(t *testing.T) {
	hostNetwork := func(pod *corev1.Pod) { pod.Spec.HostNetwork = true }
	refusedByCloud := func(pod *corev1.Pod) { pod.Labels = map[string]string{"refuse": "me"} }
	for name, test := range map[string]struct {
		change  func(*corev1.Pod)
		restart corev1.RestartPolicy
		reason  string
		phase   corev1.PodPhase
		requeue time.Duration
	}{
		"a Pod with a restriction stays Pending": {
			hostNetwork, corev1.RestartPolicyAlways, string(policy.ReasonHostNamespace), corev1.PodPending, refusalRetry,
		},
		"a Pod without a restart policy stays Pending": {
			hostNetwork, "", string(policy.ReasonHostNamespace), corev1.PodPending, refusalRetry,
		},
		"a Pod of a Job with a restriction fails": {
			hostNetwork, corev1.RestartPolicyNever, string(policy.ReasonHostNamespace), corev1.PodFailed, 0,
		},
		"a Pod that the cloud does not accept stays Pending": {
			refusedByCloud, corev1.RestartPolicyAlways, ReasonRefused, corev1.PodPending, refusalRetry,
		},
		"a Pod of a Job that the cloud does not accept fails": {
			refusedByCloud, corev1.RestartPolicyOnFailure, ReasonRefused, corev1.PodFailed, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.cloud.fail["create"] = &cci.Error{Kind: cci.Permanent, Status: 400, Message: "invalid"}
			pod := h.put(newPod("web", restart(test.restart), test.change))
			assert.Equal(t, test.requeue, h.reconciles(pod))
			h.assertEvent("Warning " + test.reason)
			assert.Equal(t, test.phase, h.status().Phase)
			assert.Contains(t, refusals(), test.reason, "it is counted from zero")
			assert.EqualValues(t, 1, h.metric(h.metrics.refused.WithLabelValues(test.reason)))
			if test.phase == corev1.PodFailed {
				assert.Equal(t, test.reason, h.status().Reason)
				return
			}
			assert.Equal(t, test.reason, h.status().Reason)

			creations := h.cloud.calls["create"]
			pod.Status = h.status()
			_, err := h.reconcilePod(pod)
			if creations > 0 {
				require.ErrorIs(t, err, worker.ErrNotYet, "its own change of the status does not cause another request")
				assert.Equal(t, creations, h.cloud.calls["create"])
			}
			h.clock = h.clock.Add(refusalRetry)
			assert.Equal(t, refusalRetry, h.reconciles(pod))
			h.assertNoEvent()
			assert.EqualValues(t, 1, h.metric(h.metrics.refused.WithLabelValues(test.reason)), "a refusal is counted once")
		})
	}
}

func TestEveryRestrictionIsInTheMessage(t *testing.T) {
	h := newHarness(t)
	pod := h.put(newPod("web", func(pod *corev1.Pod) {
		pod.Spec.HostNetwork = true
		pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: new(true)}
	}))
	h.reconciles(pod)
	h.assertEvent("; ")
}

func TestFailedCreationsAreRetried(t *testing.T) {
	for name, test := range map[string]struct {
		err    error
		reason string
	}{
		"too many requests":        {&cci.Error{Kind: cci.Throttled, Status: 429, After: 7 * time.Second}, ReasonThrottled},
		"no permission":            {&cci.Error{Kind: cci.Denied, Status: 403, Message: "no permission"}, ReasonDenied},
		"an error of the service":  {&cci.Error{Kind: cci.Transient, Status: 500}, ReasonUnavailable},
		"an error of another kind": {errors.New("broken"), ReasonUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.cloud.fail["create"] = test.err
			pod := h.put(newPod("web"))

			_, err := h.reconcilePod(pod)
			require.ErrorIs(t, err, test.err)
			assert.Nil(t, h.reported, "the first failure is not reported")

			delay := max(time.Second, cci.RetryAfter(test.err))
			requeueAfter, err := h.reconcilePod(pod)
			require.ErrorIs(t, err, worker.ErrNotYet, "a change of the Pod does not shorten the delay")
			assert.Equal(t, delay, requeueAfter)
			assert.Equal(t, 1, h.cloud.calls["create"])

			h.clock = h.clock.Add(delay)
			_, err = h.reconcilePod(pod)
			require.ErrorIs(t, err, test.err)
			assert.Equal(t, test.reason, h.status().Reason)
			assert.Equal(t, test.err.Error(), h.status().Message)
			assert.Equal(t, corev1.PodPending, h.status().Phase)
			h.assertNoEvent()

			delete(h.cloud.fail, "create")
			h.clock = h.clock.Add(delay)
			h.reconciles(pod)
			h.assertEvent("CloudPodCreated")
			assert.Zero(t, h.state(identity.KeyOf(pod)).failures, "a success resets the failures")
		})
	}
}

func TestRetryAfterOfTheCloudIsReturned(t *testing.T) {
	h := newHarness(t)
	h.sim.Fault(t, ccisim.Fault{Kind: ccisim.Throttle, Verb: "create", Times: 1, RetryAfterSeconds: 7})
	_, err := h.reconcilePod(h.put(newPod("web")))
	require.True(t, cci.IsThrottled(err))
	assert.Equal(t, 7*time.Second, cci.RetryAfter(err))
}

func TestAChangedPodIsRetriedAtOnce(t *testing.T) {
	h := newHarness(t)
	h.cloud.fail["create"] = &cci.Error{Kind: cci.Permanent, Status: 400}
	pod := h.put(newPod("web"))
	h.reconciles(pod)
	delete(h.cloud.fail, "create")
	changed := pod.DeepCopy()
	changed.Spec.Containers[0].Image = "nginx:2"
	require.NoError(t, h.store.Update(changed))
	h.reconciles(changed)
	assert.Equal(t, 2, h.cloud.calls["create"])
}

func TestObjectsThatAPodRefersTo(t *testing.T) {
	secret := func(pod *corev1.Pod) {
		pod.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "password"},
		}}}
	}
	claim := func(pod *corev1.Pod) {
		pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
		}}}
	}
	t.Run("a Pod waits for a missing Secret", func(t *testing.T) {
		h := newHarness(t)
		pod := h.put(newPod("web", secret))
		for range 2 {
			_, err := h.reconcilePod(pod)
			require.Error(t, err)
			assert.Equal(t, ReasonConfigError, h.status().Reason)
			assert.Equal(t, `secret "password" not found`, h.status().Message)
			h.clock = h.clock.Add(time.Minute)
		}
		h.assertEvent("Warning CreateContainerConfigError", `secret "password" not found`)
		assert.Zero(t, h.cloud.calls["create"])

		require.NoError(t, h.client.Tracker().Add(&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "password", UID: "s"},
		}))
		h.reconciles(pod)
		h.assertEvent("CloudPodCreated")
	})
	t.Run("a first refusal of the cluster is not reported", func(t *testing.T) {
		h := newHarness(t)
		pod := h.put(newPod("web", secret))
		h.client.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(corev1.Resource("secrets"), "password", errors.New("no relationship"))
		})
		_, err := h.reconcilePod(pod)
		require.ErrorContains(t, err, "no relationship")
		assert.Nil(t, h.reported)
		h.clock = h.clock.Add(time.Minute)
		_, err = h.reconcilePod(pod)
		require.Error(t, err)
		assert.Equal(t, ReasonConfigError, h.status().Reason)
		assert.Contains(t, h.status().Message, "no relationship")
	})
	t.Run("a Pod that refers to more objects than one may is refused", func(t *testing.T) {
		h := newHarness(t)
		pod := h.put(newPod("web", configMaps("a", "b", "c", "d")))
		assert.Equal(t, refusalRetry, h.reconciles(pod))
		assert.Equal(t, ReasonMirrorLimit, h.status().Reason)
		h.assertEvent("Warning "+ReasonMirrorLimit, "pods.mirrorLimits.objectsPerPod")
	})
	t.Run("a Pod of a namespace with as many copies as it may have waits", func(t *testing.T) {
		h := newHarness(t)
		h.reconciles(h.put(newPod("second", configMaps("a", "b"))))
		h.assertEvent("CloudPodCreated")
		h.reconciles(h.put(newPod("third", configMaps("c", "d"))))
		h.assertEvent("CloudPodCreated")
		_, err := h.reconcilePod(h.put(newPod("fourth", configMaps("e"))))
		require.Error(t, err, "it is retried")
		assert.Equal(t, corev1.PodPending, h.status().Phase)
		assert.Equal(t, ReasonMirrorLimit, h.status().Reason)
		h.assertEvent("Warning "+ReasonMirrorLimit, "pods.mirrorLimits.objectsPerNamespace")
	})
	t.Run("a Pod with a claim that the cloud cannot mount is refused", func(t *testing.T) {
		h := newHarness(t)
		pod := h.put(newPod("web", claim))
		require.NoError(t, h.client.Tracker().Add(&corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "data", UID: "c"},
			Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "disk"},
			Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
		}))
		require.NoError(t, h.client.Tracker().Add(&corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "disk"},
			Spec: corev1.PersistentVolumeSpec{
				ClaimRef: &corev1.ObjectReference{Namespace: "default", Name: "data", UID: "c"},
				PersistentVolumeSource: corev1.PersistentVolumeSource{
					CSI: &corev1.CSIPersistentVolumeSource{Driver: "disk.csi.example.com", VolumeHandle: "d"},
				},
			},
			Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound},
		}))
		assert.Equal(t, refusalRetry, h.reconciles(pod))
		h.assertEvent("Warning "+string(policy.ReasonPersistentVolume), "claim data is bound to a volume of kind")
	})
	t.Run("an error of the cloud while the copy is written is one of the cloud", func(t *testing.T) {
		h := newHarness(t)
		pod := h.put(newPod("web", secret))
		require.NoError(t, h.client.Tracker().Add(&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "password", UID: types.UID("s")},
		}))
		h.sim.Fault(t, ccisim.Fault{Kind: ccisim.Arrears, Verb: "create", Path: "secrets"})
		for range 2 {
			_, err := h.reconcilePod(pod)
			require.Equal(t, cci.Denied, cci.KindOf(err))
			h.clock = h.clock.Add(time.Minute)
		}
		assert.Equal(t, ReasonDenied, h.status().Reason)
	})
}

// configMaps makes a Pod refer to ConfigMaps, which need not exist.
func configMaps(names ...string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		for _, name := range names {
			pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
				Name: name, VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
					LocalObjectReference: corev1.LocalObjectReference{Name: name}, Optional: new(true),
				}},
			})
		}
	}
}
