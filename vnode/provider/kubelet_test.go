package provider

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/virtual-kubelet/virtual-kubelet/errdefs"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/usage"
)

func TestWhatVirtualKubeletReads(t *testing.T) {
	h := newHarness(t)
	pod := newPod("web")
	h.run(pod)
	got, err := h.GetPod(t.Context(), "default", "web")
	require.NoError(t, err)
	assert.Equal(t, pod, got)
	assert.NotSame(t, pod, got, "virtual-kubelet may change the Pod")
	status, err := h.GetPodStatus(t.Context(), "default", "web")
	require.NoError(t, err)
	assert.Equal(t, pod.Status, *status)

	for name, missing := range map[string]string{"a Pod without a cloud Pod": "new", "an unknown Pod": "unknown"} {
		t.Run(name, func(t *testing.T) {
			if missing == "new" {
				h.put(newPod("new"))
			}
			_, err := h.GetPod(t.Context(), "default", missing)
			assert.True(t, errdefs.IsNotFound(err))
			_, err = h.GetPodStatus(t.Context(), "default", missing)
			assert.True(t, errdefs.IsNotFound(err))
		})
	}
	t.Run("a Pod whose name another Pod had", func(t *testing.T) {
		successor := newPod("web", func(pod *corev1.Pod) { pod.UID = "successor" })
		require.NoError(t, h.store.Update(successor))
		_, err := h.GetPod(t.Context(), "default", "web")
		assert.True(t, errdefs.IsNotFound(err))
		require.NoError(t, h.store.Update(pod))
	})
	t.Run("all Pods are unknown before the first list", func(t *testing.T) {
		_, err := h.GetPods(t.Context())
		assert.ErrorContains(t, err, "not known yet")
	})
}

func TestCallsAndChangesQueueThePod(t *testing.T) {
	pod, successor := newPod("web"), newPod("web", func(pod *corev1.Pod) { pod.UID = "successor" })
	for name, call := range map[string]func(*harness) error{
		"CreatePod": func(h *harness) error { return h.CreatePod(h.t.Context(), pod) },
		"UpdatePod": func(h *harness) error { return h.UpdatePod(h.t.Context(), pod) },
		"DeletePod": func(h *harness) error { return h.DeletePod(h.t.Context(), pod) },
		"a new Pod": func(h *harness) error { h.podHandler().OnAdd(pod, false); return nil },
		"a Pod that is replaced by one of the same name": func(h *harness) error {
			h.podHandler().OnUpdate(pod, successor)
			return nil
		},
		"a deleted Pod": func(h *harness) error { h.podHandler().OnDelete(pod); return nil },
		"a deleted Pod that the watch has missed": func(h *harness) error {
			h.podHandler().OnDelete(cache.DeletedFinalStateUnknown{Obj: pod})
			return nil
		},
		"a deletion by virtual-kubelet's controller": func(h *harness) error {
			h.put(pod.DeepCopy())
			return h.PodsGetter().Pods("default").Delete(h.t.Context(), "web", metav1.DeleteOptions{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			done := make(chan identity.Key, 10)
			h.rebuildLoop(func(key identity.Key) { done <- key })
			require.NoError(t, call(h))
			select {
			case key := <-done:
				assert.Equal(t, identity.KeyOf(pod).Name, key.Name)
			case <-time.After(cloudtest.Timeout):
				t.Fatal("the Pod is not queued")
			}
		})
	}
}

func TestWhereACommandCanRun(t *testing.T) {
	h := newHarness(t)
	h.put(newPod("web", debugger, func(pod *corev1.Pod) {
		pod.Spec.InitContainers = []corev1.Container{{Name: "init"}}
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "waiting"})
		pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{
			Name: "init", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}},
		}}
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{
			{Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}, {Name: "waiting"},
		}
	}))
	for name, test := range map[string]struct {
		pod, container string
		kind           func(error) bool
	}{
		"in a running container":         {"web", "main", func(err error) bool { return err == nil }},
		"not in a waiting container":     {"web", "waiting", errdefs.IsInvalidInput},
		"not in an ended container":      {"web", "init", errdefs.IsInvalidInput},
		"not in a debugger":              {"web", "debugger", errdefs.IsInvalidInput},
		"not in an unknown container":    {"web", "other", errdefs.IsNotFound},
		"not in a Pod of another node":   {"other", "main", errdefs.IsNotFound},
		"not without a container's name": {"web", "", errdefs.IsNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			assert.True(t, test.kind(h.CheckRunning("default", test.pod, test.container)))
		})
	}
}

func TestCommandsLogsAndAddressesOfAPod(t *testing.T) {
	h := newHarness(t, cloudtest.EveryAPI)
	pod := newPod("web", debugger)
	cloud := h.run(pod)
	h.put(newPod("new"))

	address, err := h.Address("default", "web")
	require.NoError(t, err)
	assert.Equal(t, cloud.Status.PodIP, address)
	_, err = h.Address("default", "new")
	assert.True(t, errdefs.IsInvalidInput(err))
	_, err = h.Address("default", "unknown")
	assert.True(t, errdefs.IsNotFound(err))

	stream, err := h.Logs(t.Context(), "default", "web", cci.LogOptions{Container: "main"})
	require.NoError(t, err)
	log, err := io.ReadAll(stream)
	require.NoError(t, err)
	require.NoError(t, stream.Close())
	assert.NotEmpty(t, log)
	for name, test := range map[string]struct{ pod, container string }{
		"a Pod of another node":     {"unknown", "main"},
		"an unknown container":      {"web", "other"},
		"a Pod without a cloud Pod": {"new", "main"},
	} {
		_, err = h.Logs(t.Context(), "default", test.pod, cci.LogOptions{Container: test.container})
		assert.True(t, errdefs.IsNotFound(err), name)
	}
	_, err = h.Logs(t.Context(), "default", "web", cci.LogOptions{Container: "debugger"})
	assert.True(t, errdefs.IsInvalidInput(err))
	assert.ErrorContains(t, err, "container debugger of pod default/web has not started: the cloud adds no containers")
	_, err = h.Logs(t.Context(), "default", "web", cci.LogOptions{Container: "main", Previous: true})
	assert.ErrorContains(t, err, "getting the log of pod default/web")

	options := cci.ExecOptions{Container: "main", Command: []string{"true"}}
	assert.True(t, errdefs.IsNotFound(h.Exec(t.Context(), "default", "unknown", options, cci.ExecStreams{})))
}

func TestExporters(t *testing.T) {
	started := time.Unix(1e9, 0)
	running := func(name string, change func(*cci.Pod)) *cci.Pod {
		cloud := &cci.Pod{Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.0.0.7", StartTime: &metav1.Time{Time: started},
			ContainerStatuses: []corev1.ContainerStatus{
				{Name: "main", State: corev1.ContainerState{
					Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(started)},
				}},
				{Name: "waiting"},
			},
		}}
		owner.Mark(&cloud.ObjectMeta, identity.KeyOf(newPod(name)))
		if change != nil {
			change(cloud)
		}
		return cloud
	}
	annotated := func(key, value string) func(*cci.Pod) {
		return func(pod *cci.Pod) { pod.Annotations[key] = value }
	}
	for name, test := range map[string]struct {
		change  func(*cci.Pod)
		address string
	}{
		"a running Pod has the default port":  {nil, "10.0.0.7:19100"},
		"a Pod can choose its port":           {annotated(cci.ExporterPortAnnotation, "9000"), "10.0.0.7:9000"},
		"a Pod can disable its exporter":      {annotated(cci.ExporterAnnotation, "False"), ""},
		"a Pod with an invalid port has none": {annotated(cci.ExporterPortAnnotation, "x"), ""},
		"a Pod without an address has none":   {func(pod *cci.Pod) { pod.Status.PodIP = "" }, ""},
		"a Pod that has ended has none": {
			func(pod *cci.Pod) { pod.Status.Phase = corev1.PodSucceeded }, "",
		},
		"a Pod without a running container has none": {func(pod *cci.Pod) { pod.Status.ContainerStatuses = nil }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			pod := h.put(newPod("web"))
			h.setCloud(running("web", test.change))
			h.setCloud(running("gone", nil)) // A Pod that the cluster does not have.
			targets := h.UsageTargets()
			if test.address == "" {
				assert.Empty(t, targets)
				return
			}
			assert.Equal(t, []usage.Target{{
				Namespace: "default", Name: "web", UID: string(pod.UID), Address: test.address, Started: started,
				Containers: map[string]time.Time{"main": started}, Images: map[string]string{"main": "nginx"},
			}}, targets)
		})
	}
}

func TestStatusesThatVirtualKubeletWrites(t *testing.T) {
	running := func(pod *corev1.Pod) *corev1.Pod {
		wanted := pod.DeepCopy()
		wanted.Status.Phase = corev1.PodRunning
		wanted.Labels = map[string]string{"of": "the past"}
		return wanted
	}
	for name, test := range map[string]struct {
		prepare func(*harness, *corev1.Pod)
		phase   corev1.PodPhase
		writes  int
		err     func(error) bool
	}{
		"are written as a patch": {nil, corev1.PodRunning, 1, nil},
		"are not written without a change": {func(_ *harness, pod *corev1.Pod) {
			pod.Status.Phase = corev1.PodRunning
		}, corev1.PodRunning, 0, nil},
		"are not written after the end": {func(_ *harness, pod *corev1.Pod) {
			pod.Status.Phase = corev1.PodFailed
		}, corev1.PodFailed, 0, nil},
		"are left to the next comparison after a conflict": {func(h *harness, _ *corev1.Pod) {
			h.fail("patch", apierrors.NewConflict(corev1.Resource("pods"), "web", nil))
		}, corev1.PodPending, 1, nil},
		"are retried after an error": {func(h *harness, _ *corev1.Pod) {
			h.fail("patch", apierrors.NewInternalError(io.ErrUnexpectedEOF))
		}, "", 1, apierrors.IsInternalError},
		"are dropped if the Pod is gone": {func(h *harness, pod *corev1.Pod) {
			require.NoError(h.t, h.store.Delete(pod))
		}, "", 0, apierrors.IsNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			pod := h.put(newPod("web"))
			wanted := running(pod)
			if test.prepare != nil {
				test.prepare(h, pod)
			}
			got, err := h.PodsGetter().Pods("default").UpdateStatus(t.Context(), wanted, metav1.UpdateOptions{})
			if test.err != nil {
				assert.True(t, test.err(err))
			} else {
				require.NoError(t, err)
				assert.Equal(t, test.phase, got.Status.Phase)
				assert.Empty(t, got.Labels, "nothing but the status is written")
			}
			writes := 0
			for _, action := range h.client.Actions() {
				if action.Matches("patch", "pods/status") {
					writes++
				}
			}
			assert.Equal(t, test.writes, writes)
		})
	}
}

func TestEventsOfVirtualKubeletAreDiscarded(t *testing.T) {
	recorder := DiscardEvents()
	recorder.Event(nil, "", "", "")
	recorder.Eventf(nil, "", "", "")
	recorder.AnnotatedEventf(nil, nil, "", "", "")
}
