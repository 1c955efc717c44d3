package provider

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

func image(image string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Spec.Containers[0].Image = image }
}

func debugger(pod *corev1.Pod) {
	pod.Spec.EphemeralContainers = append(pod.Spec.EphemeralContainers, corev1.EphemeralContainer{
		EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debugger"},
	})
}

func burst(mode string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Labels = map[string]string{policy.BurstLabel: mode} }
}

// labelFile gives a Pod a label and a file that shows it.
func labelFile(value string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Labels = map[string]string{"version": value}
		pod.Spec.Volumes = []corev1.Volume{{Name: "info", VolumeSource: corev1.VolumeSource{
			DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{{
				Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"},
			}}},
		}}}
	}
}

func switchOn(pod *corev1.Pod) { pod.Annotations = map[string]string{policy.SwitchKey: "true"} }

func begun(pod *corev1.Pod) {
	pod.Status.PodIP = "10.0.0.7"
	if _, err := translate.Trim(pod); err != nil {
		panic(err)
	}
}

func TestChangesThatTheCloudCannotFollow(t *testing.T) {
	for name, test := range map[string]struct {
		before, after *corev1.Pod
		event         string
	}{
		"a new image": {
			newPod("web"), newPod("web", image("nginx:2")),
			"Warning CloudPodKeepsImage Container main keeps image nginx",
		},
		"the same image": {newPod("web"), newPod("web"), ""},
		"a debugger": {
			newPod("web"), newPod("web", debugger),
			"Warning CloudPodKeepsContainers Container debugger will not start: the cloud adds no containers",
		},
		"the same Pod": {newPod("web", debugger), newPod("web", debugger), ""},
		"another Pod of the same name": {
			newPod("web"),
			newPod("web", debugger, image("nginx:2"), func(pod *corev1.Pod) { pod.UID = "successor" }), "",
		},
		"a label that a file shows": {
			newPod("web", labelFile("1")), newPod("web", labelFile("2")),
			"Warning CloudPodKeepsFiles The containers do not see the changed labels or annotations: these files of " +
				"the downward API keep the values from the creation of the cloud Pod: labels",
		},
		"a burst label that forbids bursting": {
			newPod("web"), newPod("web", burst("off")),
			"Normal CloudPodStays virtual-kubelet.io/burst-to-cci is \"off\" now, and the Pod stays in the cloud: the " +
				"key has an effect when a Pod is created",
		},
		"a Pod with a switch that has begun to run, as the cache keeps it": {
			newPod("web", switchOn), newPod("web", switchOn, begun), "",
		},
		"the same burst label": {newPod("web", burst("auto")), newPod("web", burst("auto")), ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.run(test.before)
			h.podHandler().OnUpdate(test.before, test.after)
			if test.event == "" {
				h.assertNoEvent()
				return
			}
			h.assertEvent(test.event)
		})
	}
}

func TestChangesBeforeTheCloudPodIsCreatedAreFollowed(t *testing.T) {
	h := newHarness(t)
	h.podHandler().OnUpdate(newPod("web", labelFile("1")), newPod("web", labelFile("2"), image("nginx:2")))
	h.assertNoEvent()
}

func TestAChangeWhileTheCloudPodIsCreatedIsReported(t *testing.T) {
	h := newHarness(t)
	before, after := newPod("web"), newPod("web", image("nginx:2"))
	h.put(before)
	h.cloud.onCreate = func() { require.NoError(t, h.store.Update(after)) }
	h.reconciles(before)
	events := h.drainEvents()
	require.Len(t, events, 2)
	assert.Contains(t, events[0], "Warning CloudPodKeepsImage")
}

func TestFilesThatKeepTheirContentAreReportedOnce(t *testing.T) {
	h := newHarness(t)
	first, second, third := newPod("web", labelFile("1")), newPod("web", labelFile("2")), newPod("web", labelFile("3"))
	h.run(first)
	h.podHandler().OnUpdate(first, second)
	h.podHandler().OnUpdate(second, third)
	h.assertEvent("CloudPodKeepsFiles")
}

func TestAResizeIsInfeasible(t *testing.T) {
	cpu := func(value string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse(value)}
		}
	}
	h := newHarness(t)
	pod := newPod("web", cpu("500m"))
	h.run(pod)
	assert.Equal(t, "500m", pod.Status.ContainerStatuses[0].Resources.Requests.Cpu().String())
	pending := func() (found []corev1.PodCondition) {
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodResizePending {
				found = append(found, condition)
			}
		}
		return found
	}
	for _, value := range []string{"2", "100m"} {
		cpu(value)(pod)
		pod.Generation++
		h.clock = h.clock.Add(time.Minute)
		h.reconciles(pod)
		pod.Status = h.status()
		require.Len(t, pending(), 1)
		assert.Equal(t, corev1.ConditionTrue, pending()[0].Status)
		assert.Equal(t, "Infeasible", pending()[0].Reason)
		assert.Equal(t, pod.Generation, pending()[0].ObservedGeneration)
		assert.Equal(t, "500m", pod.Status.ContainerStatuses[0].Resources.Requests.Cpu().String(), "what it has")
	}
	h.assertEvent("Warning ResizeInfeasible",
		"the cloud cannot resize a Pod, so these containers keep their resources: main")

	cpu("0.5")(pod)
	h.reconciles(pod)
	pod.Status = h.status()
	assert.Empty(t, pending(), "it has what it should have")
	cpu("1")(pod)
	h.reconciles(pod)
	h.assertEvent("Warning ResizeInfeasible")
}

func TestAPodThatWaitsIsCreatedInItsNewSize(t *testing.T) {
	h := newHarness(t)
	pod := newPod("web")
	h.cloud.fail["create"] = &cci.Error{Kind: cci.Permanent}
	h.reconciles(h.put(pod))
	pod.Status = h.status()
	delete(h.cloud.fail, "create")
	pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("2")}
	h.drainEvents()
	h.reconciles(pod)
	h.assertEvent("CloudPodCreated", "of size 2.00_")
}
