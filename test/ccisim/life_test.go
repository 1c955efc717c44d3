package ccisim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/test/ccisim"
)

const behavior = "ccisim.spillway.io/"

func TestRunningPodHasFieldsOfService(t *testing.T) {
	b := newNamespaceEnv(t, func(c *ccisim.Config) { c.SubnetCIDR = "10.9.0.0/24" })
	created := b.createPod("web", withLabels("app", "web", "sys_enterprise_project_id", "mine"),
		withAnnotations("mine", "kept", "resource.cci.io/size", "64.00_512.0"))
	assert.Equal(t, corev1.PodPending, created.Status.Phase)
	assert.Equal(t, corev1.PodQOSGuaranteed, created.Status.QOSClass)
	assert.Equal(t, []string{"billing.kubernetes.io/podbilling-finalizer"}, created.Finalizers)
	assert.Equal(t, "0.50_1.0", created.Annotations["resource.cci.io/size"], "the billed size")
	assert.Equal(t, "project-1", created.Labels["tenant.kubernetes.io/project-id"])
	assert.Equal(t, "domain-1", created.Labels["tenant.kubernetes.io/domain-id"])
	assert.Equal(t, "0", created.Labels["sys_enterprise_project_id"])
	assert.Equal(t, corev1.DNSDefault, created.Spec.DNSPolicy)
	assert.Equal(t, corev1.RestartPolicyAlways, created.Spec.RestartPolicy)
	assert.Equal(t, int64(30), *created.Spec.TerminationGracePeriodSeconds)
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
	assert.True(t, netip.MustParsePrefix("10.9.0.0/24").Contains(netip.MustParseAddr(pod.Status.PodIP)), "podIP %s",
		pod.Status.PodIP)
	assert.Equal(t, []corev1.PodIP{{IP: pod.Status.PodIP}}, pod.Status.PodIPs)
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady,
		corev1.PodReady} {
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

func TestStepsOfPodStart(t *testing.T) {
	b := newNamespaceEnv(t)
	meta, _ := b.list(podsPath)
	w := b.watch(podsPath + "?watch=1&resourceVersion=" + meta.ResourceVersion)
	b.createPod("web")
	var steps []string
	for {
		event := w.next()
		var status corev1.PodStatus
		require.NoError(t, json.Unmarshal(event.Object.Status, &status))
		step := string(status.Phase)
		for _, c := range status.ContainerStatuses {
			if c.State.Waiting != nil {
				step += " " + c.State.Waiting.Reason
				assert.Empty(t, status.PodIP, "no address before the containers start")
			}
		}
		steps = append(steps, step)
		if status.Phase == corev1.PodRunning {
			break
		}
	}
	assert.Equal(t, []string{"Pending", "Pending ContainerCreating", "Running"}, steps)
}

func TestAddressesAreUniqueAndRunOut(t *testing.T) {
	b := newNamespaceEnv(t, func(c *ccisim.Config) { c.SubnetCIDR = "10.9.0.0/29" })
	seen := map[string]string{}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		b.createPod(name)
		ip := b.untilPhase(name, "Running").Status.PodIP
		assert.Empty(t, seen[ip], "pod %s has the address of another: %s", name, ip)
		seen[ip] = name
	}
	network := func() string {
		var n ccisim.Network
		b.get("/apis/yangtse/v2/namespaces/ns/networks/net", &n)
		return n.Status.Status
	}
	b.eventually(func() bool { return network() == "IPInsufficient" }, "the network is IPInsufficient")
	b.createPod("late")
	b.eventually(func() bool { return len(b.eventReasons("late")) > 0 }, "an Event says why the Pod waits")
	assert.Equal(t, corev1.PodPending, b.pod("late").Status.Phase)
	assert.Empty(t, b.pod("late").Status.ContainerStatuses)
	b.want(http.StatusOK, "DELETE", podsPath+"/a?gracePeriodSeconds=0", nil)
	late := b.untilPhase("late", "Running")
	assert.Equal(t, "a", seen[late.Status.PodIP], "the freed address is used")
}

func TestPodWaitsForNetwork(t *testing.T) {
	b := newEnv(t)
	b.want(http.StatusCreated, "POST", "/apis/cci/v2/namespaces", namespaceBody("ns"))
	b.createPod("early")
	b.eventually(func() bool { return len(b.eventReasons("early")) > 0 }, "an Event says why the Pod waits")
	assert.Equal(t, []string{"NetworkNotReady"}, b.eventReasons("early"))
	assert.Equal(t, corev1.PodPending, b.pod("early").Status.Phase)
	b.want(http.StatusCreated, "POST", "/apis/yangtse/v2/namespaces/ns/networks", networkBody("net", "subnet-1"))
	b.untilPhase("early", "Running")
}

// eventReasons returns the reasons of the Events about a Pod, in the order of their names.
func (b *env) eventReasons(pod string) []string {
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

func TestPodCompletion(t *testing.T) {
	cases := map[string]struct {
		policy      string
		annotations []string
		phase       string
		exitCode    int32
		reason      string
	}{
		"a Pod of a Job succeeds":               {"Never", nil, "Succeeded", 0, "Completed"},
		"an exit code with restartPolicy Never": {"Never", []string{behavior + "exit-code", "3"}, "Failed", 3, "Error"},
		"OnFailure ends with success":           {"OnFailure", nil, "Succeeded", 0, "Completed"},
		"a run time in fractions of a second": {
			"Never", []string{behavior + "run-seconds", "0.01"}, "Succeeded", 0, "Completed",
		},
		"an annotation for one container wins": {
			"Never", []string{behavior + "exit-code", "3", behavior + "exit-code.web", "4"}, "Failed", 4, "Error",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := newNamespaceEnv(t)
			b.createPod("job", withSpec("restartPolicy", tc.policy), withAnnotations(tc.annotations...))
			pod := b.untilPhase("job", tc.phase)
			status := pod.Status.ContainerStatuses[0]
			require.NotNil(t, status.State.Terminated)
			assert.Equal(t, tc.exitCode, status.State.Terminated.ExitCode)
			assert.Equal(t, tc.reason, status.State.Terminated.Reason)
			assert.Zero(t, status.RestartCount)
			assert.Equal(t, status.ContainerID, status.State.Terminated.ContainerID)
			assert.False(t, status.State.Terminated.FinishedAt.IsZero())
			assert.False(t, status.Ready)
			assert.Equal(t, corev1.ConditionFalse, condition(pod, corev1.PodReady).Status)
			if tc.phase == "Succeeded" {
				assert.Equal(t, "PodCompleted", condition(pod, corev1.PodReady).Reason)
			}
			assert.NotEmpty(t, pod.Status.PodIP)
		})
	}
}

func TestRestarts(t *testing.T) {
	cases := map[string]struct {
		policy      string
		annotations []string
		exitCode    int32
	}{
		"Always restarts after a failure": {"Always", []string{behavior + "crash-loop", "true"}, 1},
		"Always restarts after a success": {"Always", []string{behavior + "run-seconds", "0.01"}, 0},
		"OnFailure restarts after a failure": {
			"OnFailure", []string{behavior + "run-seconds", "0.01", behavior + "exit-code", "7"}, 7,
		},
		"a run time of zero": {"Always", []string{behavior + "run-seconds", "0"}, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := newNamespaceEnv(t)
			b.createPod("loop", withSpec("restartPolicy", tc.policy), withAnnotations(tc.annotations...))
			pod := b.untilPod("loop", "waits for another restart", func(pod *ccisim.Pod) bool {
				return len(pod.Status.ContainerStatuses) == 1 && pod.Status.ContainerStatuses[0].RestartCount >= 2 &&
					pod.Status.ContainerStatuses[0].State.Waiting != nil
			})
			status := pod.Status.ContainerStatuses[0]
			assert.Equal(t, corev1.PodRunning, pod.Status.Phase, "a Pod that will run again is Running")
			assert.Equal(t, "CrashLoopBackOff", status.State.Waiting.Reason)
			assert.Contains(t, status.State.Waiting.Message, "restarting failed container=web pod=loop_ns("+string(pod.UID)+")")
			require.NotNil(t, status.LastTerminationState.Terminated)
			assert.Equal(t, tc.exitCode, status.LastTerminationState.Terminated.ExitCode)
			assert.False(t, status.Ready)
			assert.Equal(t, corev1.ConditionFalse, condition(pod, corev1.PodReady).Status)
			assert.Contains(t, b.eventReasons("loop"), "BackOff")
		})
	}
}

func TestBackOffDoublesUpToLimit(t *testing.T) {
	b := newNamespaceEnv(t, func(c *ccisim.Config) {
		c.RestartBackoff, c.MaxRestartBackoff = 20*time.Millisecond, 80*time.Millisecond
	})
	b.createPod("loop", withAnnotations(behavior+"run-seconds", "0"))
	seen := map[string]bool{}
	b.eventually(func() bool {
		for _, status := range b.pod("loop").Status.ContainerStatuses {
			if status.State.Waiting != nil {
				message, _, _ := strings.Cut(status.State.Waiting.Message, " restarting")
				seen[message] = true
			}
		}
		return seen["back-off 20ms"] && seen["back-off 40ms"] && seen["back-off 80ms"]
	}, "the back-off doubles")
	b.untilPod("loop", "has restarted often", func(pod *ccisim.Pod) bool {
		return pod.Status.ContainerStatuses[0].RestartCount > 6
	})
	assert.NotContains(t, seen, "back-off 160ms")
}

func TestInitContainersAndSidecars(t *testing.T) {
	init := func(name string) object { return object{"name": name, "image": "busybox"} }
	sidecar := object{"name": "side", "image": "proxy", "restartPolicy": "Always"}
	statuses := func(pod *ccisim.Pod) map[string]corev1.ContainerStatus {
		out := map[string]corev1.ContainerStatus{}
		for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
			for _, status := range list {
				out[status.Name] = status
			}
		}
		return out
	}
	t.Run("run one after the other, before the others", func(t *testing.T) {
		b := newNamespaceEnv(t, func(c *ccisim.Config) { c.InitRunTime = 50 * time.Millisecond })
		b.createPod("web", withSpec("initContainers", []object{init("one"), init("two")}))
		pod := b.untilPod("web", "the second init container runs", func(pod *ccisim.Pod) bool {
			return statuses(pod)["two"].State.Running != nil
		})
		assert.Equal(t, corev1.PodPending, pod.Status.Phase)
		assert.Equal(t, "PodInitializing", statuses(pod)["web"].State.Waiting.Reason)
		assert.Equal(t, int32(0), statuses(pod)["one"].State.Terminated.ExitCode)
		assert.Equal(t, corev1.ConditionFalse, condition(pod, corev1.PodInitialized).Status)
		assert.Contains(t, condition(pod, corev1.PodInitialized).Message, "[two]")
		pod = b.untilPhase("web", "Running")
		assert.Equal(t, corev1.ConditionTrue, condition(pod, corev1.PodInitialized).Status)
		assert.NotNil(t, statuses(pod)["two"].State.Terminated)
	})
	t.Run("fail a Pod that never restarts", func(t *testing.T) {
		b := newNamespaceEnv(t)
		b.createPod("job", withSpec("restartPolicy", "Never"), withSpec("initContainers", []object{init("one")}),
			withAnnotations(behavior+"exit-code.one", "5"))
		pod := b.untilPhase("job", "Failed")
		assert.Equal(t, int32(5), statuses(pod)["one"].State.Terminated.ExitCode)
		assert.NotNil(t, statuses(pod)["web"].State.Waiting, "the container never started")
	})
	t.Run("are restarted in a Pod that restarts", func(t *testing.T) {
		b := newNamespaceEnv(t)
		b.createPod("web", withSpec("initContainers", []object{init("one")}), withAnnotations(behavior+"exit-code.one", "5"))
		pod := b.untilPod("web", "the init container has restarted", func(pod *ccisim.Pod) bool {
			return statuses(pod)["one"].RestartCount >= 2
		})
		assert.Equal(t, corev1.PodPending, pod.Status.Phase)
	})
	t.Run("ignore annotations for all containers", func(t *testing.T) {
		b := newNamespaceEnv(t)
		b.createPod("job", withSpec("restartPolicy", "Never"), withSpec("initContainers", []object{init("one")}),
			withAnnotations(behavior+"exit-code", "5"))
		pod := b.untilPhase("job", "Failed")
		assert.Zero(t, statuses(pod)["one"].State.Terminated.ExitCode)
	})
	t.Run("native sidecars run with the containers, and end with them", func(t *testing.T) {
		b := newNamespaceEnv(t, func(c *ccisim.Config) { c.RunTime = 200 * time.Millisecond })
		b.createPod("job", withSpec("restartPolicy", "Never"), withSpec("initContainers", []object{sidecar, init("one")}))
		pod := b.untilPhase("job", "Running")
		assert.NotNil(t, statuses(pod)["side"].State.Running)
		assert.True(t, statuses(pod)["side"].Ready)
		pod = b.untilPhase("job", "Succeeded")
		assert.NotNil(t, statuses(pod)["side"].State.Terminated)
	})
}

func TestReadiness(t *testing.T) {
	never := func(b *env, name string) {
		pod := b.untilPhase(name, "Running")
		assert.Equal(b.t, corev1.ConditionFalse, condition(pod, corev1.PodReady).Status)
		assert.Equal(b.t, "ContainersNotReady", condition(pod, corev1.PodReady).Reason)
		assert.Equal(b.t, "containers with unready status: [web]", condition(pod, corev1.PodReady).Message)
		assert.False(b.t, pod.Status.ContainerStatuses[0].Ready)
	}
	b := newNamespaceEnv(t)
	b.createPod("never", withAnnotations(behavior+"ready-seconds", "never"))
	b.createPod("slow-probe", withContainer("readinessProbe", object{"httpGet": object{"port": 80},
		"initialDelaySeconds": 3600}))
	b.createPod("late", withAnnotations(behavior+"ready-seconds", "0.2"))
	never(b, "late")
	never(b, "never")
	never(b, "slow-probe")
	b.untilPod("late", "is ready after a while", func(pod *ccisim.Pod) bool {
		return condition(pod, corev1.PodReady).Status == corev1.ConditionTrue
	})
	never(b, "never")
}

func TestActiveDeadline(t *testing.T) {
	b := newNamespaceEnv(t)
	b.createPod("slow", withSpec("activeDeadlineSeconds", 1))
	b.untilPhase("slow", "Running")
	pod := b.untilPhase("slow", "Failed")
	assert.Equal(t, "DeadlineExceeded", pod.Status.Reason)
	assert.Equal(t, int32(137), pod.Status.ContainerStatuses[0].State.Terminated.ExitCode)
}

func TestImagePullErrors(t *testing.T) {
	b := newNamespaceEnv(t)
	b.createPod("by-name", withContainer("image", "registry/missing-app:v1"))
	b.createPod("by-setting", withAnnotations(behavior+"image", "missing"))
	for _, name := range []string{"by-name", "by-setting"} {
		pod := b.untilPod(name, "backs off the image pull", func(pod *ccisim.Pod) bool {
			return len(pod.Status.ContainerStatuses) == 1 &&
				pod.Status.ContainerStatuses[0].State.Waiting.Reason == "ImagePullBackOff"
		})
		assert.Equal(t, corev1.PodPending, pod.Status.Phase)
		message := pod.Status.ContainerStatuses[0].State.Waiting.Message
		assert.Contains(t, message, `Back-off pulling image "`+pod.Spec.Containers[0].Image+`"`)
		assert.Contains(t, message, "ErrImagePull: failed to pull", "the cause is in the message")
		assert.Contains(t, b.eventReasons(name), "Failed")
	}
	a := b.doAs("PATCH", podsPath+"/by-name", "application/json-patch+json",
		`[{"op":"replace","path":"/spec/containers/0/image","value":"registry/app:v1"}]`)
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	assert.Equal(t, "registry/app:v1", b.untilPhase("by-name", "Running").Status.ContainerStatuses[0].Image)
}

func TestPatches(t *testing.T) {
	b := newNamespaceEnv(t)
	created := b.createPod("web", withLabels("app", "web"), withAnnotations("a", "1"))
	b.untilPhase("web", "Running")
	cases := map[string]struct {
		contentType, body string
		want              int
	}{
		"a label by merge patch": {"application/merge-patch+json", `{"metadata":{"labels":{"merge":"1"}}}`, 200},
		"a label by strategic patch": {
			"application/strategic-merge-patch+json", `{"metadata":{"labels":{"strategic":"1"}}}`, 200,
		},
		"a label by JSON patch": {
			"application/json-patch+json", `[{"op":"add","path":"/metadata/labels/json","value":"1"}]`, 200,
		},
		"an annotation":      {"application/merge-patch+json", `{"metadata":{"annotations":{"b":"2"}}}`, 200},
		"tolerations":        {"application/merge-patch+json", `{"spec":{"tolerations":[{"operator":"Exists"}]}}`, 200},
		"a deadline":         {"application/merge-patch+json", `{"spec":{"activeDeadlineSeconds":3600}}`, 200},
		"an invalid label":   {"application/merge-patch+json", `{"metadata":{"labels":{"x":"_"}}}`, 422},
		"the restart policy": {"application/merge-patch+json", `{"spec":{"restartPolicy":"Never"}}`, 422},
		"the grace period":   {"application/merge-patch+json", `{"spec":{"terminationGracePeriodSeconds":1}}`, 422},
		"a container's command": {
			"application/strategic-merge-patch+json", `{"spec":{"containers":[{"name":"web","command":["x"]}]}}`, 422,
		},
		"another container": {
			"application/strategic-merge-patch+json", `{"spec":{"containers":[{"name":"more","image":"x"}]}}`, 422,
		},
		"no image": {"application/strategic-merge-patch+json", `{"spec":{"containers":[{"name":"web","image":""}]}}`, 422},
		"a JSON patch whose test fails": {
			"application/json-patch+json", `[{"op":"test","path":"/metadata/labels/app","value":"x"}]`, 422,
		},
		"a JSON patch of a missing path": {
			"application/json-patch+json", `[{"op":"remove","path":"/metadata/labels/none"}]`, 422,
		},
		"an invalid JSON patch":  {"application/json-patch+json", `{"op":"x"}`, 400},
		"an invalid merge patch": {"application/merge-patch+json", `{`, 400},
		"an old version":         {"application/merge-patch+json", `{"metadata":{"resourceVersion":"1"}}`, 409},
		"another UID":            {"application/merge-patch+json", `{"metadata":{"uid":"other"}}`, 409},
		"another name":           {"application/merge-patch+json", `{"metadata":{"name":"other"}}`, 400},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a := b.doAs("PATCH", podsPath+"/web", tc.contentType, tc.body)
			require.NoError(t, a.err)
			assert.Equal(t, tc.want, a.status, "%s", a.body)
		})
	}
	pod := b.pod("web")
	for _, label := range []string{"merge", "strategic", "json"} {
		assert.Equal(t, "1", pod.Labels[label])
	}
	assert.Equal(t, "web", pod.Labels["app"])
	assert.Equal(t, map[string]string{"a": "1", "b": "2"},
		map[string]string{"a": pod.Annotations["a"], "b": pod.Annotations["b"]})
	assert.Equal(t, corev1.PodRunning, pod.Status.Phase)

	t.Run("fields of the service are kept", func(t *testing.T) {
		a := b.doAs("PATCH", podsPath+"/web", "application/merge-patch+json",
			`{"metadata":{"finalizers":null,"labels":{"scheduling.cci.io/vmid":null,"app":null},`+
				`"annotations":{"resource.cci.io/size":"x"}},"status":{"phase":"Failed"}}`)
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		after := b.pod("web")
		assert.Equal(t, created.Finalizers, after.Finalizers)
		assert.Equal(t, pod.Labels["scheduling.cci.io/vmid"], after.Labels["scheduling.cci.io/vmid"])
		assert.NotContains(t, after.Labels, "app")
		assert.Equal(t, "0.50_1.0", after.Annotations["resource.cci.io/size"])
		assert.Equal(t, corev1.PodRunning, after.Status.Phase)
	})
	t.Run("an image restarts its container", func(t *testing.T) {
		a := b.doAs("PATCH", podsPath+"/web", "application/strategic-merge-patch+json",
			`{"spec":{"containers":[{"name":"web","image":"registry/nginx:1.28"}]}}`)
		require.Equal(t, http.StatusOK, a.status, "%s", a.body)
		pod := b.untilPod("web", "runs the new image", func(pod *ccisim.Pod) bool {
			return pod.Status.ContainerStatuses[0].Image == "registry/nginx:1.28"
		})
		status := pod.Status.ContainerStatuses[0]
		assert.Equal(t, int32(1), status.RestartCount)
		assert.NotNil(t, status.State.Running)
		assert.NotNil(t, status.LastTerminationState.Terminated)
	})
	t.Run("an update replaces labels", func(t *testing.T) {
		pod := b.pod("web")
		pod.Labels = map[string]string{"only": "this"}
		b.want(http.StatusOK, "PUT", podsPath+"/web", pod)
		after := b.pod("web")
		assert.Equal(t, "this", after.Labels["only"])
		assert.NotContains(t, after.Labels, "json")
		assert.Equal(t, "project-1", after.Labels["tenant.kubernetes.io/project-id"])
	})
	assert.Empty(t, b.sim.DroppedFields(), "the service lists every field of the Pods that it returns")
}

func TestDeletion(t *testing.T) {
	uid := func(b *env) string { return string(b.pod("web").UID) }
	cases := map[string]struct {
		annotations []string
		query       string
		body        func(b *env) any
		exitCode    int32
		grace       int64
	}{
		"with the grace period of the Pod":   {nil, "", nil, 0, 30},
		"with the grace period of the query": {nil, "?gracePeriodSeconds=7", nil, 0, 7},
		"with the grace period of the body":  {nil, "", func(*env) any { return object{"gracePeriodSeconds": 9} }, 0, 9},
		"without a grace period":             {nil, "?gracePeriodSeconds=0", nil, 137, 0},
		"with the right UID": {
			nil, "", func(b *env) any { return object{"preconditions": object{"uid": uid(b)}} }, 0, 30,
		},
		"a container that ends with the signal": {[]string{behavior + "stop-exit-code", "143"}, "", nil, 143, 30},
		"a container that ignores SIGTERM": {
			[]string{behavior + "stop-seconds", "never"}, "?gracePeriodSeconds=1", nil, 137, 1,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := newNamespaceEnv(t)
			b.createPod("web", withAnnotations(tc.annotations...))
			b.untilPhase("web", "Running")
			meta, _ := b.list(podsPath)
			w := b.watch(podsPath + "?watch=1&resourceVersion=" + meta.ResourceVersion)
			var body any
			if tc.body != nil {
				body = tc.body(b)
			}
			var ending ccisim.Pod
			require.NoError(t, json.Unmarshal(b.want(http.StatusOK, "DELETE", podsPath+"/web"+tc.query, body).body, &ending))
			require.NotNil(t, ending.DeletionTimestamp)
			assert.Equal(t, tc.grace, *ending.DeletionGracePeriodSeconds)
			assert.Equal(t, []string{"billing.kubernetes.io/podbilling-finalizer"}, ending.Finalizers)
			var status corev1.PodStatus
			require.NoError(t, json.Unmarshal(w.until("DELETED", "web").Object.Status, &status))
			require.NotNil(t, status.ContainerStatuses[0].State.Terminated, "the last state has the exit code")
			assert.Equal(t, tc.exitCode, status.ContainerStatuses[0].State.Terminated.ExitCode)
			assert.Equal(t, map[bool]corev1.PodPhase{true: "Succeeded", false: "Failed"}[tc.exitCode == 0], status.Phase)
			b.want(http.StatusNotFound, "DELETE", podsPath+"/web", nil)
		})
	}
}

func TestRefusedDeletion(t *testing.T) {
	b := newNamespaceEnv(t)
	b.createPod("web")
	cases := map[string]struct {
		query string
		body  any
		want  int
	}{
		"another UID":             {"", object{"preconditions": object{"uid": "other"}}, 409},
		"another version":         {"", object{"preconditions": object{"resourceVersion": "1"}}, 409},
		"an invalid grace period": {"?gracePeriodSeconds=soon", nil, 400},
		"an invalid body":         {"", "soon", 400},
		"a dry run":               {"?dryRun=All", nil, 200},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b.want(tc.want, "DELETE", podsPath+"/web"+tc.query, tc.body)
			assert.Nil(t, b.pod("web").DeletionTimestamp)
		})
	}
	require.NoError(t, b.sim.SetPolicies(ccisim.Policies{IgnorePreconditions: true}))
	b.want(http.StatusOK, "DELETE", podsPath+"/web", object{"preconditions": object{"uid": "other"}})
	b.untilGone("web")
}

func TestSecondDeletionShortensGracePeriod(t *testing.T) {
	b := newNamespaceEnv(t)
	b.createPod("web", withAnnotations(behavior+"stop-seconds", "never"))
	b.untilPhase("web", "Running")
	first := &ccisim.Pod{}
	require.NoError(t, json.Unmarshal(b.want(http.StatusOK, "DELETE", podsPath+"/web?gracePeriodSeconds=600", nil).body,
		first))
	longer := &ccisim.Pod{}
	require.NoError(t, json.Unmarshal(b.want(http.StatusOK, "DELETE", podsPath+"/web?gracePeriodSeconds=1200", nil).body,
		longer))
	assert.Equal(t, first.DeletionTimestamp, longer.DeletionTimestamp)
	assert.Equal(t, int64(600), *longer.DeletionGracePeriodSeconds)
	assert.Equal(t, corev1.PodRunning, b.pod("web").Status.Phase, "the Pod runs during the grace period")
	b.want(http.StatusOK, "DELETE", podsPath+"/web?gracePeriodSeconds=0", nil)
	b.untilGone("web")
}

func TestDeletionOfPodsThatDoNotRun(t *testing.T) {
	b := newNamespaceEnv(t)
	_, err := b.sim.AddFault(ccisim.Fault{Kind: ccisim.SoldOut, Path: "/unplaced$"})
	require.NoError(t, err)
	b.createPod("unplaced")
	b.createPod("unpulled", withAnnotations(behavior+"image", "missing"))
	b.createPod("done", withSpec("restartPolicy", "Never"))
	b.untilPhase("done", "Succeeded")
	b.untilPod("unplaced", "is unschedulable", func(pod *ccisim.Pod) bool {
		return condition(pod, corev1.PodScheduled).Status == corev1.ConditionFalse
	})
	b.untilPod("unpulled", "has a container status", func(pod *ccisim.Pod) bool {
		return len(pod.Status.ContainerStatuses) == 1
	})
	for _, name := range []string{"unplaced", "unpulled", "done"} {
		b.want(http.StatusOK, "DELETE", podsPath+"/"+name, nil)
		b.untilGone(name)
	}
	for i, record := range b.sim.PodsEver() {
		assert.NotNil(t, record.Deleted, fmt.Sprintf("record %d: %s", i, record.Name))
	}
}

func TestNameReuse(t *testing.T) {
	b := newNamespaceEnv(t)
	first := b.createPod("web")
	b.want(http.StatusOK, "DELETE", podsPath+"/web?gracePeriodSeconds=0", nil)
	b.untilGone("web")
	second := b.createPod("web")
	assert.NotEqual(t, first.UID, second.UID)
	b.want(http.StatusConflict, "DELETE", podsPath+"/web", object{"preconditions": object{"uid": first.UID}})
	b.untilPhase("web", "Running")
	records := b.sim.PodsEver()
	require.Len(t, records, 2)
	assert.Equal(t, first.UID, records[0].UID)
	assert.NotNil(t, records[0].Deleted)
	assert.Nil(t, records[1].Deleted)
}

func TestFinishContainer(t *testing.T) {
	b := newNamespaceEnv(t)
	b.createPod("web")
	require.Error(t, b.sim.FinishContainer("ns", "web", "other", 1))
	require.Error(t, b.sim.FinishContainer("ns", "other", "web", 1))
	require.Error(t, b.sim.FinishContainer("ns", "web", "web", 300))
	b.untilPhase("web", "Running")
	require.NoError(t, b.sim.FinishContainer("ns", "web", "web", 9))
	pod := b.untilPod("web", "has restarted", func(pod *ccisim.Pod) bool {
		return pod.Status.ContainerStatuses[0].RestartCount == 1
	})
	assert.Equal(t, int32(9), pod.Status.ContainerStatuses[0].LastTerminationState.Terminated.ExitCode)
	b.createPod("job", withSpec("restartPolicy", "Never"), withAnnotations(behavior+"run-seconds", "forever"))
	b.untilPhase("job", "Running")
	require.Equal(t, http.StatusNoContent, b.admin("POST", "/namespaces/ns/pods/job/containers/web/finish",
		object{"exitCode": 4}).status)
	assert.Equal(t, int32(4), b.untilPhase("job", "Failed").Status.ContainerStatuses[0].State.Terminated.ExitCode)
	assert.Equal(t, http.StatusConflict, b.admin("POST", "/namespaces/ns/pods/job/containers/web/finish",
		object{"exitCode": 4}).status)
}

func TestImageSnapshotPods(t *testing.T) {
	b := newNamespaceEnv(t)
	a := b.admin("POST", "/namespaces/ns/image-snapshot", nil)
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	_, names := b.list(podsPath)
	require.Len(t, names, 1)
	assert.Regexp(t, `^cci-imagesnapshot-`, names[0])
	b.untilPhase(names[0], "Succeeded")
	assert.Equal(t, http.StatusConflict, b.admin("POST", "/namespaces/other/image-snapshot", nil).status)
}
