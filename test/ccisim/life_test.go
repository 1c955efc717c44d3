package ccisim_test

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/test/ccisim"
)

func TestAPodRunsWithEverythingThatTheServiceAdds(t *testing.T) {
	b := newNamespaceBench(t, func(c *ccisim.Config) { c.SubnetCIDR = "10.9.0.0/24" })
	created := b.createPod("web", withLabels("app", "web"), withAnnotations("mine", "kept"))
	assert.Equal(t, corev1.PodPending, created.Status.Phase)
	assert.Equal(t, corev1.PodQOSGuaranteed, created.Status.QOSClass)
	assert.Equal(t, []string{"billing.kubernetes.io/podbilling-finalizer"}, created.Finalizers)
	assert.Equal(t, "0.50_1.0", created.Annotations["resource.cci.io/size"], "the size that is billed")
	assert.Equal(t, "project-1", created.Labels["tenant.kubernetes.io/project-id"])
	assert.Equal(t, "domain-1", created.Labels["tenant.kubernetes.io/domain-id"])
	assert.Empty(t, created.Spec.NodeName)
	assert.NotEmpty(t, created.UID)

	pod := b.untilPhase("web", "Running")
	assert.Equal(t, created.UID, pod.UID)
	assert.Equal(t, "web", pod.Labels["app"])
	assert.Equal(t, "kept", pod.Annotations["mine"])
	assert.Regexp(t, `^compute-cell-\d{3}$`, pod.Spec.NodeName)
	assert.Equal(t, "volcano", pod.Spec.SchedulerName)
	assert.NotEmpty(t, pod.Labels["scheduling.cci.io/vmid"])
	assert.Equal(t, "cn-north-4", pod.Annotations["topology.kubernetes.io/region"])
	assert.Contains(t, pod.Annotations["cni.yangtse.io/network-status"], pod.Status.PodIP)
	assert.Empty(t, pod.Status.HostIP, "CCI has no hostIP")
	assert.True(t, netip.MustParsePrefix("10.9.0.0/24").Contains(netip.MustParseAddr(pod.Status.PodIP)), "podIP %s", pod.Status.PodIP)
	assert.Equal(t, []corev1.PodIP{{IP: pod.Status.PodIP}}, pod.Status.PodIPs)

	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		assert.Equal(t, corev1.ConditionTrue, condition(pod, kind).Status, "condition %s", kind)
	}
	require.Len(t, pod.Status.ContainerStatuses, 1)
	status := pod.Status.ContainerStatuses[0]
	assert.Equal(t, "web", status.Name)
	assert.True(t, status.Ready)
	assert.True(t, *status.Started)
	assert.Zero(t, status.RestartCount)
	assert.Equal(t, "registry/nginx:1.27", status.Image)
	assert.Regexp(t, `^registry/nginx:1.27@sha256:[0-9a-f]{64}$`, status.ImageID)
	assert.Regexp(t, `^containerd://[0-9a-f]{64}$`, status.ContainerID)
	require.NotNil(t, status.State.Running)
	assert.False(t, status.State.Running.StartedAt.IsZero())
}

func condition(pod *ccisim.Pod, kind corev1.PodConditionType) corev1.PodCondition {
	for _, c := range pod.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.PodCondition{}
}

func TestAddressesAreUnique(t *testing.T) {
	b := newNamespaceBench(t)
	seen := map[string]string{}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		b.createPod(name)
		ip := b.untilPhase(name, "Running").Status.PodIP
		assert.Empty(t, seen[ip], "pod %s has the address of another: %s", name, ip)
		seen[ip] = name
	}
}

func TestAPodWithoutAReadyNetworkWaits(t *testing.T) {
	b := newBench(t)
	b.want(http.StatusCreated, "POST", "/apis/cci/v2/namespaces", namespaceBody("ns"))
	b.createPod("early")
	b.eventually(func() bool { return len(b.eventReasons("early")) > 0 }, "an event tells why")
	assert.Equal(t, []string{"NetworkNotReady"}, b.eventReasons("early"))
	assert.Equal(t, corev1.PodPending, b.pod("early").Status.Phase)
	b.want(http.StatusCreated, "POST", "/apis/yangtse/v2/namespaces/ns/networks", networkBody("net", "subnet-1"))
	b.untilPhase("early", "Running")
}

// eventReasons are the reasons of the events about a Pod, in the order of their names.
func (b *bench) eventReasons(pod string) []string {
	b.t.Helper()
	var list struct{ Items []corev1.Event }
	b.get("/apis/cci/v2/namespaces/ns/events", &list)
	var out []string
	for _, e := range list.Items {
		if e.InvolvedObject.Name == pod {
			out = append(out, e.Reason)
		}
	}
	return out
}

func TestPodsThatEnd(t *testing.T) {
	cases := map[string]struct {
		policy      string
		annotations []string
		phase       string
		exitCode    int32
		reason      string
		restarts    int32
	}{
		"a Job's Pod ends well by itself":             {"Never", nil, "Succeeded", 0, "Completed", 0},
		"an exit code fails a Pod that never restart": {"Never", []string{"ccisim.spillway.io/exit-code", "3"}, "Failed", 3, "Error", 0},
		"OnFailure ends with success":                 {"OnFailure", nil, "Succeeded", 0, "Completed", 0},
		"a run time in fractions of a second":         {"Never", []string{"ccisim.spillway.io/run-seconds", "0.01"}, "Succeeded", 0, "Completed", 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := newNamespaceBench(t)
			b.createPod("job", withSpec("restartPolicy", tc.policy), withAnnotations(tc.annotations...))
			pod := b.untilPhase("job", tc.phase)
			status := pod.Status.ContainerStatuses[0]
			require.NotNil(t, status.State.Terminated)
			assert.Equal(t, tc.exitCode, status.State.Terminated.ExitCode)
			assert.Equal(t, tc.reason, status.State.Terminated.Reason)
			assert.Equal(t, tc.restarts, status.RestartCount)
			assert.Equal(t, status.ContainerID, status.State.Terminated.ContainerID)
			assert.False(t, status.State.Terminated.FinishedAt.IsZero())
			assert.False(t, status.Ready)
			assert.Equal(t, corev1.ConditionFalse, condition(pod, corev1.PodReady).Status)
		})
	}
}

func TestDeletingAPod(t *testing.T) {
	b := newNamespaceBench(t)
	b.createPod("web")
	running := b.untilPhase("web", "Running")
	a := b.want(http.StatusOK, "DELETE", podsPath+"/web", nil)
	var ending ccisim.Pod
	require.NoError(t, json.Unmarshal(a.body, &ending))
	assert.Equal(t, running.UID, ending.UID)
	require.NotNil(t, ending.DeletionTimestamp)
	assert.Equal(t, int64(30), *ending.DeletionGracePeriodSeconds)
	assert.Equal(t, []string{"billing.kubernetes.io/podbilling-finalizer"}, ending.Finalizers)
	b.untilGone("web")
	b.want(http.StatusNotFound, "DELETE", podsPath+"/web", nil)
}
