package provider

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// inMode makes a Pod reach Services in a way.
func inMode(mode policy.ServicesMode) func(*corev1.Pod) {
	return annotated(policy.ServicesAnnotation, string(mode))
}

func annotated(key, value string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[key] = value
	}
}

func TestAPodWithASidecarForServices(t *testing.T) {
	h := newHarness(t, cloudtest.EveryAPI)
	pod := newPod("web", inMode(policy.ServicesProxy))
	cloud := h.run(pod)

	require.Len(t, cloud.Spec.InitContainers, 1)
	assert.Equal(t, policy.ServicesContainer, cloud.Spec.InitContainers[0].Name)
	require.Len(t, cloud.Status.InitContainerStatuses, 1)
	secret, err := h.sim.Client.GetData(t.Context(), cloudtest.Namespace, cci.Secret,
		owner.MirrorName(identity.TokenMirror(pod)))
	require.NoError(t, err)
	assert.Equal(t, "kubeconfig", string(secret.Binary[identity.KubeconfigKey]))

	assert.Empty(t, pod.Status.InitContainerStatuses, "the status does not show it")
	assert.Len(t, pod.Status.ContainerStatuses, 1)
	targets := h.UsageTargets()
	require.Len(t, targets, 1)
	assert.Equal(t, map[string]string{"main": "nginx"}, targets[0].Images, "nor does kubectl top")

	require.NoError(t, h.CheckRunning("default", "web", policy.ServicesContainer), "administrators reach it by its name")
	stream, err := h.Logs(t.Context(), "default", "web", cci.LogOptions{Container: policy.ServicesContainer})
	require.NoError(t, err)
	log, err := io.ReadAll(stream)
	require.NoError(t, err)
	require.NoError(t, stream.Close())
	assert.NotEmpty(t, log)

	h.run(newPod("bare"))
	_, err = h.Logs(t.Context(), "default", "bare", cci.LogOptions{Container: policy.ServicesContainer})
	assert.ErrorContains(t, err, `pod default/bare has no container "spillway-proxy"`)
}

func TestAJobEndsAlthoughItsPodHasASidecarForServices(t *testing.T) {
	h := newHarness(t)
	pod := h.put(newPod("job", inMode(policy.ServicesProxy), restart(corev1.RestartPolicyNever),
		annotated("ccisim.spillway.io/run-seconds", "0.1")))
	h.reconciles(pod)
	h.observe(pod, func(cloud *cci.Pod) bool { return cloud.Status.Phase == corev1.PodSucceeded })
	h.drainEvents()
	h.reconciles(pod)
	assert.Equal(t, corev1.PodSucceeded, h.status().Phase)
	h.assertNoEvent()
}

func TestASidecarForServicesThatFails(t *testing.T) {
	h := newHarness(t)
	pod := h.put(newPod("web", inMode(policy.ServicesProxy),
		annotated("ccisim.spillway.io/image."+policy.ServicesContainer, "missing")))
	h.reconciles(pod)
	h.drainEvents()
	h.observe(pod, func(cloud *cci.Pod) bool {
		statuses := cloud.Status.InitContainerStatuses
		if len(statuses) != 1 || statuses[0].State.Waiting == nil {
			return false
		}
		return statuses[0].State.Waiting.Reason == "ImagePullBackOff"
	})
	h.reconciles(pod)
	h.assertEvent("Warning ServicesSidecarFailed The Pod reaches no Services", "spillway-proxy",
		"ImagePullBackOff: Back-off pulling image")
	h.reconciles(pod)
	h.assertNoEvent()
	status := h.status()
	assert.Equal(t, corev1.PodPending, status.Phase)
	var initialized corev1.PodCondition
	for _, condition := range status.Conditions {
		if condition.Type == corev1.PodInitialized {
			initialized = condition
		}
	}
	assert.Equal(t, corev1.ConditionFalse, initialized.Status)
	assert.Contains(t, initialized.Message, "the sidecar spillway-proxy, with which the Pod reaches Services, has not "+
		"started: ImagePullBackOff")

	cloud := h.inventory.Get(identity.KeyOf(pod))
	cloud.Status.InitContainerStatuses[0].State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	cloud.Status.InitContainerStatuses[0].Started = new(true)
	h.setCloud(cloud)
	h.reconciles(pod)
	h.assertNoEvent()
	cloud.Status.InitContainerStatuses[0].State = corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"},
	}
	h.setCloud(cloud)
	h.reconciles(pod)
	h.assertEvent("ServicesSidecarFailed", "it has ended with exit code 137: OOMKilled")
}

func TestAPodThatReachesClusterIPs(t *testing.T) {
	h := newHarness(t)
	h.servicesErr = assert.AnError
	pod := h.put(newPod("web", inMode(policy.ServicesRouted)))
	for range 2 {
		_, err := h.reconcilePod(pod)
		require.ErrorIs(t, err, assert.AnError)
	}
	assert.Equal(t, ReasonServicesUnknown, h.status().Reason, "it waits until the Services are known")
	assert.False(t, h.isInCloud(pod))

	service := &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: "10.96.3.4", Ports: []corev1.ServicePort{{Port: 80}}}}
	service.Namespace, service.Name = "default", "cart"
	h.services, h.servicesErr = []*corev1.Service{service}, nil
	pod.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: "settings"},
	}}}
	require.NoError(t, h.client.Tracker().Add(&corev1.ConfigMap{
		ObjectMeta: newPod("settings").ObjectMeta, Data: map[string]string{"CART_PORT": "8080"},
	}))
	h.reconciles(pod)
	cloud := h.observe(pod, func(*cci.Pod) bool { return true })
	env := cloud.Spec.Containers[0].Env
	assert.Contains(t, env, corev1.EnvVar{Name: "CART_SERVICE_HOST", Value: "10.96.3.4"})
	for _, e := range env {
		assert.NotEqual(t, "CART_PORT", e.Name, "the ConfigMap has it")
	}
	assert.Empty(t, cloud.Spec.InitContainers)
}

func TestAPodThatAsksForAModeThatIsNotSetUp(t *testing.T) {
	h := newHarness(t)
	pod := h.put(newPod("web", inMode(policy.ServicesKubeProxy)))
	h.reconciles(pod)
	h.assertEvent("Warning UnsupportedPod", "mode kube-proxy is not set up", "pods.kubeProxy.image")
	assert.Equal(t, corev1.PodPending, h.status().Phase)
}
