package podlife

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

func TestPodStartsInSteps(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createPod("web")
	e.step(scheduleDelay - 1)
	assert.Empty(t, e.pod("web").Spec.NodeName)

	e.step(1)
	pod := e.pod("web")
	assert.Regexp(t, `^compute-cell-00[123]$`, pod.Spec.NodeName)
	assert.Equal(t, objects.PodScheduler, pod.Spec.SchedulerName)
	assert.Equal(t, "region-1a", pod.Annotations[corev1.LabelTopologyZone])
	assert.Equal(t, corev1.ConditionTrue, condition(pod, corev1.PodScheduled).Status)
	assert.Equal(t, corev1.PodPending, pod.Status.Phase)
	assert.Equal(t, "ContainerCreating", e.status("web").State.Waiting.Reason)

	e.step(startDelay - 1)
	assert.Empty(t, e.pod("web").Status.PodIP)
	e.step(1)
	pod = e.pod("web")
	assert.Equal(t, "10.0.0.2", pod.Status.PodIP)
	assert.Equal(t, corev1.PodRunning, pod.Status.Phase)
	assert.Equal(t, corev1.ConditionTrue, condition(pod, corev1.PodReady).Status)
	assert.Equal(t, e.clock.Now(), e.status("web").State.Running.StartedAt.Time)
	assert.Equal(t, map[string]int32{"Scheduled": 1, "Started": 1}, e.reasons("web"))
	assert.Equal(t, []string{"ccisim: container web of ns/web runs registry/nginx:1 (line 1 of 1)"},
		e.logText("web", "web"))
}

func TestCompletion(t *testing.T) {
	cases := map[string]struct {
		policy corev1.RestartPolicy
		code   string
		phase  corev1.PodPhase
	}{
		"Never and success":     {corev1.RestartPolicyNever, "0", corev1.PodSucceeded},
		"Never and failure":     {corev1.RestartPolicyNever, "3", corev1.PodFailed},
		"OnFailure and success": {corev1.RestartPolicyOnFailure, "0", corev1.PodSucceeded},
		"OnFailure and failure": {corev1.RestartPolicyOnFailure, "3", corev1.PodRunning},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			e := newNamespaceEnv(t)
			e.createRunning("job", with(BehaviorExitCode, tc.code), func(pod *objects.Pod) {
				pod.Spec.RestartPolicy = tc.policy
			})
			e.step(runTime - 1)
			assert.Equal(t, corev1.PodRunning, e.pod("job").Status.Phase)
			e.step(1)
			assert.Equal(t, tc.phase, e.pod("job").Status.Phase)
		})
	}
}

func TestRestartsBackOff(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createRunning("loop", with(BehaviorRunSeconds, "1"), with(BehaviorExitCode, "7"))
	for restarts, wait := range []time.Duration{0, restartBackoff, 2 * restartBackoff, maxBackoff, maxBackoff} {
		require.NotNil(t, e.status("loop").State.Running, "run %d", restarts)
		assert.Equal(t, int32(restarts), e.status("loop").RestartCount)
		e.step(time.Second)
		assert.Equal(t, int32(7), e.status("loop").LastTerminationState.Terminated.ExitCode)
		if wait == 0 {
			continue
		}
		assert.Equal(t, reasonCrashLoop, e.status("loop").State.Waiting.Reason)
		assert.Contains(t, e.status("loop").State.Waiting.Message, "back-off "+wait.String())
		assert.Equal(t, corev1.PodRunning, e.pod("loop").Status.Phase)
		e.step(wait - 1)
		assert.Nil(t, e.status("loop").State.Running)
		e.step(1)
	}
}

func TestReadiness(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createRunning("web", with(BehaviorReadySeconds, "30"))
	assert.Equal(t, corev1.PodRunning, e.pod("web").Status.Phase)
	e.step(30*time.Second - 1)
	assert.Equal(t, "ContainersNotReady", condition(e.pod("web"), corev1.PodReady).Reason)
	e.step(1)
	ready := condition(e.pod("web"), corev1.PodReady)
	assert.Equal(t, corev1.ConditionTrue, ready.Status)
	assert.Equal(t, e.clock.Now(), ready.LastTransitionTime.Time)
}

func TestInitContainersRunFirst(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	withInit := func(pod *objects.Pod) {
		pod.Spec.InitContainers = []corev1.Container{
			{Name: "side", Image: "a", RestartPolicy: &always}, {Name: "one", Image: "a"}, {Name: "two", Image: "a"},
		}
	}
	e := newNamespaceEnv(t)
	e.createRunning("job", withInit, neverRestarts)
	running := func() []string {
		var out []string
		for _, c := range objects.AllContainers(e.pod("job")) {
			if objects.ContainerStatus(e.pod("job"), c.Name).State.Running != nil {
				out = append(out, c.Name)
			}
		}
		return out
	}
	assert.Equal(t, []string{"side", "one"}, running())
	assert.Equal(t, "containers with incomplete status: [one two]", condition(e.pod("job"), corev1.PodInitialized).Message)
	e.step(initRunTime)
	assert.Equal(t, []string{"side", "two"}, running())
	assert.Equal(t, corev1.PodPending, e.pod("job").Status.Phase)
	e.step(initRunTime)
	assert.Equal(t, []string{"side", "web"}, running())
	assert.Equal(t, corev1.PodRunning, e.pod("job").Status.Phase)
	e.step(runTime)
	assert.Empty(t, running(), "the sidecar ends with the last container")
	assert.Equal(t, corev1.PodSucceeded, e.pod("job").Status.Phase)
}

func TestSidecarsStartBeforeTheOthersAndEndAfterThem(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createRunning("web", func(pod *objects.Pod) {
		always := corev1.ContainerRestartPolicyAlways
		pod.Spec.InitContainers = []corev1.Container{{
			Name: "side", Image: "a", RestartPolicy: &always,
			StartupProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{}}, InitialDelaySeconds: 10},
		}}
	})
	states := func() (sidecar, main corev1.ContainerState) {
		pod := e.pod("web")
		return pod.Status.InitContainerStatuses[0].State, pod.Status.ContainerStatuses[0].State
	}
	sidecar, main := states()
	assert.NotNil(t, sidecar.Running)
	assert.NotNil(t, main.Waiting, "it waits for the startup probe of the sidecar")
	assert.Equal(t, "containers with incomplete status: [side]", condition(e.pod("web"), corev1.PodInitialized).Message)
	e.step(10 * time.Second)
	_, main = states()
	assert.NotNil(t, main.Running)
	assert.Equal(t, corev1.PodRunning, e.pod("web").Status.Phase)

	e.delete(objects.Pods, "ns", "web", 60)
	e.step(stopDelay)
	sidecar, main = states()
	assert.NotNil(t, main.Terminated)
	assert.NotNil(t, sidecar.Running, "it gets its signal only now")
	e.step(stopDelay)
	sidecar, _ = states()
	assert.NotNil(t, sidecar.Terminated)
}

func TestASidecarThatCrashesDoesNotHoldUpTheOthers(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createRunning("job", neverRestarts, with(BehaviorCrashLoop+".side", "true"), func(pod *objects.Pod) {
		always := corev1.ContainerRestartPolicyAlways
		pod.Spec.InitContainers = []corev1.Container{{Name: "side", Image: "a", RestartPolicy: &always}}
	})
	assert.Equal(t, corev1.PodRunning, e.pod("job").Status.Phase)
	e.step(runTime)
	assert.Equal(t, corev1.PodSucceeded, e.pod("job").Status.Phase)
}

func TestFailedInitContainerFailsPod(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createRunning("job", neverRestarts, with(BehaviorExitCode+".one", "5"), func(pod *objects.Pod) {
		pod.Spec.InitContainers = []corev1.Container{{Name: "one", Image: "a"}}
	})
	e.step(initRunTime)
	assert.Equal(t, corev1.PodFailed, e.pod("job").Status.Phase)
	assert.Equal(t, "init container one ended with 5", e.pod("job").Status.Message)
}

func TestActiveDeadline(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createRunning("slow", func(pod *objects.Pod) {
		deadline := int64(60)
		pod.Spec.ActiveDeadlineSeconds = &deadline
	})
	e.step(time.Minute - startDelay - 1)
	assert.Equal(t, corev1.PodRunning, e.pod("slow").Status.Phase)
	e.step(1)
	assert.Equal(t, corev1.PodFailed, e.pod("slow").Status.Phase)
	assert.Equal(t, "DeadlineExceeded", e.pod("slow").Status.Reason)
	assert.Equal(t, int32(exitKilled), e.status("slow").State.Terminated.ExitCode)
}

func TestTermination(t *testing.T) {
	cases := map[string]struct {
		annotations map[string]string
		grace       []int64
		ends        time.Duration
		code        int32
	}{
		"a container that handles SIGTERM": {nil, nil, stopDelay, 0},
		"with an exit code":                {map[string]string{BehaviorStopCode: "9"}, nil, stopDelay, 9},
		"after some seconds":               {map[string]string{BehaviorStopSeconds: "20"}, nil, 20 * time.Second, 0},
		"a container that ignores SIGTERM": {map[string]string{BehaviorStopSeconds: "never"}, nil, 30 * time.Second, 137},
		"the end of the grace period":      {map[string]string{BehaviorStopSeconds: "20"}, []int64{7}, 7 * time.Second, 137},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			e := newNamespaceEnv(t)
			e.createRunning("web", func(pod *objects.Pod) { pod.Annotations = tc.annotations })
			e.delete(objects.Pods, "ns", "web", tc.grace...)
			e.step(tc.ends - 1)
			assert.NotNil(t, e.status("web").State.Running)
			e.step(1)
			assert.Equal(t, tc.code, e.status("web").State.Terminated.ExitCode)
			e.step(finalizerDelay - 1)
			assert.NotNil(t, e.pod("web"))
			e.step(1)
			assert.Nil(t, e.pod("web"))
		})
	}
}

func TestSecondDeletionOnlyShortensGracePeriod(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createRunning("web", with(BehaviorStopSeconds, "never"))
	e.delete(objects.Pods, "ns", "web", 60)
	e.delete(objects.Pods, "ns", "web", 600)
	assert.Equal(t, int64(60), *e.pod("web").DeletionGracePeriodSeconds)
	e.delete(objects.Pods, "ns", "web", 0)
	assert.Equal(t, corev1.PodFailed, e.pod("web").Status.Phase)
	e.step(finalizerDelay)
	assert.Nil(t, e.pod("web"))
}

func TestHoldFinalizer(t *testing.T) {
	e := newNamespaceEnv(t)
	remove := e.inject(faults.Fault{Kind: faults.HoldFinalizer})
	e.createRunning("web")
	e.delete(objects.Pods, "ns", "web", 0)
	e.step(time.Hour)
	require.NotNil(t, e.pod("web"))
	remove()
	assert.Nil(t, e.pod("web"))
}

func TestSoldOut(t *testing.T) {
	e := newNamespaceEnv(t)
	remove := e.inject(faults.Fault{Kind: faults.SoldOut, Path: "/pods/web$"})
	e.createRunning("web")
	e.createRunning("other")
	scheduled := condition(e.pod("web"), corev1.PodScheduled)
	assert.Equal(t, corev1.PodReasonUnschedulable, scheduled.Reason)
	assert.Contains(t, scheduled.Message, "the flavor is sold out")
	assert.Equal(t, map[string]int32{"FailedScheduling": 1}, e.reasons("web"))
	assert.Equal(t, corev1.PodRunning, e.pod("other").Status.Phase)
	remove()
	e.step(startDelay)
	assert.Equal(t, corev1.PodRunning, e.pod("web").Status.Phase)
}

func TestSoldOutWithSilentConditions(t *testing.T) {
	e := newNamespaceEnv(t)
	require.NoError(t, e.faults.SetPolicies(faults.Policies{SilentConditions: true}))
	e.inject(faults.Fault{Kind: faults.SoldOut})
	e.createRunning("web")
	assert.Empty(t, e.pod("web").Status.Conditions)
	assert.Equal(t, map[string]int32{"FailedScheduling": 1}, e.reasons("web"))
}

func TestImagePull(t *testing.T) {
	e := newNamespaceEnv(t)
	remove := e.inject(faults.Fault{Kind: faults.ImagePull})
	e.createRunning("web")
	assert.Equal(t, ReasonPullFailed, e.status("web").State.Waiting.Reason)
	e.step(startDelay)
	assert.Equal(t, ReasonPullBackOff, e.status("web").State.Waiting.Reason)
	remove()
	assert.NotNil(t, e.status("web").State.Running)
}

func TestImageChangeRestartsContainer(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createRunning("web")
	next := e.pod("web").DeepCopy()
	next.Spec.Containers[0].Image = "registry/nginx:2"
	e.store.Update(func(tx store.Tx) {
		_, err := tx.Put(objects.Pods, next)
		require.NoError(t, err)
		e.controller.Stored(tx, objects.Pods, next)
	})
	e.controller.ReconcileDue()
	assert.Equal(t, "registry/nginx:2", e.status("web").Image)
	assert.Equal(t, int32(1), e.status("web").RestartCount)
	assert.NotNil(t, e.status("web").State.Running)
}

func TestPodsWaitForReferences(t *testing.T) {
	configMapVolume := corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}
	configMapVolume.ConfigMap.Name = "late"
	variable := &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{Key: "k"}}
	variable.ConfigMapKeyRef.Name = "late"
	cases := map[string]struct {
		change          func(pod *objects.Pod)
		reason, message string
	}{
		"a volume": {func(pod *objects.Pod) {
			pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: configMapVolume}}
		}, "ContainerCreating", ""},
		"a variable": {func(pod *objects.Pod) {
			pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "X", ValueFrom: variable}}
		}, reasonConfigError, `configmap "late" not found`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			e := newNamespaceEnv(t)
			e.createRunning("web", tc.change)
			assert.Equal(t, tc.reason, e.status("web").State.Waiting.Reason)
			assert.Equal(t, tc.message, e.status("web").State.Waiting.Message)
			config := &objects.ConfigMap{}
			config.Namespace, config.Name, config.Data = "ns", "late", map[string]string{"k": "v"}
			e.create(objects.ConfigMaps, config)
			assert.NotNil(t, e.status("web").State.Running)
		})
	}
}

func TestAddressesRunOut(t *testing.T) {
	e := newNamespaceEnv(t)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		e.createRunning(name)
		require.NotEmpty(t, e.pod(name).Status.PodIP, name)
	}
	assert.Equal(t, objects.NetworkIPInsufficient, e.networkStatus())
	e.createRunning("late")
	assert.Equal(t, map[string]int32{"NetworkNotReady": 1}, e.reasons("late"))
	e.delete(objects.Pods, "ns", "a", 0)
	e.step(finalizerDelay)
	assert.Equal(t, objects.NetworkReady, e.networkStatus())
	e.step(startDelay)
	assert.Equal(t, "10.0.0.2", e.pod("late").Status.PodIP, "the freed address")
}

func TestSubnetsHaveAddressesOfTheirOwn(t *testing.T) {
	first, second := netip.MustParsePrefix("10.1.0.0/29"), netip.MustParsePrefix("10.2.0.0/29")
	e := newNamespaceEnv(t, func(c *Config, _ *store.Config) {
		c.Subnets = []Subnet{
			{NeutronID: "subnet", Range: first}, {NeutronID: "more", Range: second}, {NeutronID: "without"},
		}
	})
	e.createRunning("a")
	assert.Equal(t, "10.1.0.2", e.pod("a").Status.PodIP)
	for _, name := range []string{"b", "c", "d", "e"} {
		e.createRunning(name)
	}
	assert.Equal(t, objects.NetworkIPInsufficient, e.networkStatus())
	e.setSubnets("subnet", "more")
	assert.Equal(t, objects.NetworkReady, e.networkStatus())
	e.createRunning("f")
	assert.Equal(t, "10.2.0.2", e.pod("f").Status.PodIP)
	e.setSubnets("without")
	e.createRunning("g")
	assert.Equal(t, "10.0.0.2", e.pod("g").Status.PodIP)
	e.delete(objects.Pods, "ns", "a", 0)
	e.step(finalizerDelay)
	assert.Equal(t, 1, e.controller.addresses.ofSubnet["subnet"].free())
}

func TestFinishContainer(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createRunning("job", neverRestarts, with(BehaviorRunSeconds, "forever"))
	finish := e.controller.FinishContainer
	assert.ErrorContains(t, finish("ns", "other", "web", 0), "no such pod")
	assert.ErrorContains(t, finish("ns", "job", "other", 0), "it is not running")
	assert.ErrorContains(t, finish("ns", "job", "web", 256), "must be from 0 to 255")
	require.NoError(t, finish("ns", "job", "web", 4))
	assert.Equal(t, corev1.PodFailed, e.pod("job").Status.Phase)
	assert.Equal(t, int32(4), e.status("job").State.Terminated.ExitCode)
	assert.Equal(t, "ccisim: container web ended with 4", e.logText("job", "web")[1])
}

func TestPodsContinueAfterRestart(t *testing.T) {
	file := t.TempDir() + "/state"
	state := func(_ *Config, s *store.Config) { s.StateFile = file }
	before := newNamespaceEnv(t, state)
	before.createRunning("job", neverRestarts)
	before.createRunning("web")

	after := newEnv(t, state)
	after.clock.SetTime(before.clock.Now())
	after.controller.ReconcileDue()
	assert.JSONEq(t, before.json("web"), after.json("web"))
	assert.Equal(t, before.reasons("web"), after.reasons("web"))
	assert.Empty(t, after.logText("web", "web"), "lines are not kept")
	after.createRunning("new")
	assert.Equal(t, "10.0.0.4", after.pod("new").Status.PodIP, "the other addresses are still used")
	after.step(runTime)
	assert.Equal(t, corev1.PodSucceeded, after.pod("job").Status.Phase)
}
