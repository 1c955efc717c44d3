package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/provider"
)

// cloudPod returns the cloud Pod of a Pod.
func cloudPod(t testing.TB, cloud *cloudtest.Cloud, pod *corev1.Pod) *cci.Pod {
	t.Helper()
	found, err := cloud.Client.GetPod(t.Context(), cloudtest.Namespace, identity.CloudName(identity.KeyOf(pod)))
	require.NoError(t, err)
	return found
}

func TestAPodRunsInTheCloud(t *testing.T) {
	t.Parallel()
	for _, version := range []policy.CCIVersion{policy.CCI2, policy.CCI1} {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			liveAndEnd(t, cloudtest.New(t).In(t, version))
		})
	}
}

// liveAndEnd creates a Pod, waits until it is Ready, and deletes it.
func liveAndEnd(t *testing.T, cloud *cloudtest.Cloud) {
	v, ns := startOn(t, cloud)
	made := create(t, ns, podOn(v.name(), "web"))
	pod := await(t, ns, "web", isReady)
	assert.Equal(t, corev1.PodRunning, pod.Status.Phase)
	assert.Equal(t, "127.0.0.1", pod.Status.HostIP)
	assert.Equal(t, cloudPod(t, cloud, made).Status.PodIP, pod.Status.PodIP)
	require.Len(t, pod.Status.ContainerStatuses, 1)
	assert.NotEmpty(t, pod.Status.ContainerStatuses[0].ContainerID)
	eventually(t, func() error { // The virtual node counts the Pods of its cache, which follows the API server.
		if n := v.metric(t, "spillway_vnode_pods", "Running"); n != 1 {
			return fmt.Errorf("%g Pods are counted as Running", n)
		}
		return nil
	})
	assert.Equal(t, 1.0, v.metric(t, "spillway_vnode_pod_creation_seconds"))
	assert.Equal(t, 1.0, v.metric(t, "spillway_vnode_cloud_requests_total", "CreatePod", "201"))

	remove(t, ns, "web")
	awaitGone(t, ns, "web")
	_, err := cloud.Client.GetPod(t.Context(), cloudtest.Namespace, identity.CloudName(identity.KeyOf(made)))
	assert.True(t, cci.IsNotFound(err), "%v", err)
	assert.Empty(t, cloud.DroppedFields())
	assert.Contains(t, events(t, ns, "web"), "CloudPodCreated")
}

// events returns the reasons of all Events of a Pod.
func events(t testing.TB, namespace, name string) []string {
	t.Helper()
	var reasons []string
	eventually(t, func() error {
		list, err := trial.Client().CoreV1().Events(namespace).List(t.Context(),
			metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
		if err != nil {
			return err
		}
		reasons = nil
		for _, e := range list.Items {
			if e.Source.Component == "spillway-vnode" {
				reasons = append(reasons, e.Reason)
			}
		}
		if len(reasons) == 0 {
			return errors.New("there is no event")
		}
		return nil
	})
	return reasons
}

func TestAJobEndsWithTheExitCodesOfTheCloud(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud)
	template := jobTemplateOn(v.name(), map[string]string{"ccisim.spillway.io/run-seconds": "0.05"})
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "pi"},
		Spec: batchv1.JobSpec{Completions: new(int32(3)), Parallelism: new(int32(2)), Template: template}}
	_, err := trial.Client().BatchV1().Jobs(ns).Create(t.Context(), job, metav1.CreateOptions{})
	require.NoError(t, err)
	failing := job.DeepCopy()
	failing.Name = "fails"
	failing.Spec.BackoffLimit, failing.Spec.Completions = new(int32(0)), new(int32(1))
	failing.Spec.Template.Annotations["ccisim.spillway.io/exit-code"] = "3"
	_, err = trial.Client().BatchV1().Jobs(ns).Create(t.Context(), failing, metav1.CreateOptions{})
	require.NoError(t, err)
	eventually(t, func() error {
		pi, errPi := trial.Client().BatchV1().Jobs(ns).Get(t.Context(), "pi", metav1.GetOptions{})
		fails, errFails := trial.Client().BatchV1().Jobs(ns).Get(t.Context(), "fails", metav1.GetOptions{})
		if err := errors.Join(errPi, errFails); err != nil {
			return err
		}
		if pi.Status.Succeeded != 3 || fails.Status.Failed != 1 {
			return fmt.Errorf("%d of 3 succeeded, %d of 1 failed", pi.Status.Succeeded, fails.Status.Failed)
		}
		return nil
	})
	pods, err := trial.Client().CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "job-name=fails"})
	require.NoError(t, err)
	require.Len(t, pods.Items, 1)
	assert.Equal(t, int32(3), pods.Items[0].Status.ContainerStatuses[0].State.Terminated.ExitCode)
}

// deploy creates a Deployment "web" that the scheduler may place on these virtual nodes.
func deploy(t testing.TB, namespace string, replicas int32, nodes ...string) {
	t.Helper()
	spec := podOn("", "x").Spec
	spec.Tolerations = []corev1.Toleration{policy.ProviderToleration()}
	spec.Affinity = onlyOn(nodes...)
	labels := map[string]string{"app": "web"}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
	}}
	_, err := trial.Client().AppsV1().Deployments(namespace).Create(t.Context(), deployment, metav1.CreateOptions{})
	require.NoError(t, err)
}

// onlyOn returns affinity to nodes by their names. Virtual nodes have no label with their name.
func onlyOn(nodes ...string) *corev1.Affinity {
	required := &corev1.NodeSelector{}
	for _, name := range nodes {
		required.NodeSelectorTerms = append(required.NodeSelectorTerms, corev1.NodeSelectorTerm{
			MatchFields: []corev1.NodeSelectorRequirement{
				{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{name}},
			},
		})
	}
	return &corev1.Affinity{
		NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: required},
	}
}

// awaitReplicas waits until the Deployment has this number of replicas, all of them ready.
func awaitReplicas(t testing.TB, namespace string, want int32) {
	t.Helper()
	eventually(t, func() error {
		d, err := trial.Client().AppsV1().Deployments(namespace).Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if d.Status.ReadyReplicas != want || d.Status.Replicas != want {
			return fmt.Errorf("%d of %d replicas are ready, %d wanted", d.Status.ReadyReplicas, d.Status.Replicas, want)
		}
		return nil
	})
}

func TestADeploymentIsScaledByTheScheduler(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud)
	deploy(t, ns, 5, v.name())
	awaitReplicas(t, ns, 5)
	for _, replicas := range []int32{2, 0} {
		_, err := trial.Client().AppsV1().Deployments(ns).Patch(t.Context(), "web", types.MergePatchType,
			fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas), metav1.PatchOptions{})
		require.NoError(t, err)
		awaitReplicas(t, ns, replicas)
	}
	awaitCloudPods(t, cloud, 0)
}

// awaitCloudPods waits until the cloud has this number of Pods.
func awaitCloudPods(t testing.TB, cloud *cloudtest.Cloud, want int) {
	t.Helper()
	eventually(t, func() error {
		list, err := cloud.Client.ListPods(t.Context(), cloudtest.Namespace, cci.ListOptions{})
		if err != nil {
			return err
		}
		if len(list.Items) != want {
			return fmt.Errorf("the cloud has %d Pods, %d wanted", len(list.Items), want)
		}
		return nil
	})
}

// A Service sends requests to a Pod only once its readiness gates are open. They are set in the cluster, and the cloud
// does not know them.
func TestAServiceSelectsAPodOnceItsReadinessGatesAreOpen(t *testing.T) {
	t.Parallel()
	v, ns := startOn(t, cloudtest.New(t))
	_, err := trial.Client().CoreV1().Services(ns).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"},
			Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	const gate = "example.com/balanced"
	pod := podOn(v.name(), "web")
	pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: gate}}
	create(t, ns, pod)
	// served waits until the Service has the Pod's address, ready or not.
	served := func(address string, ready bool) {
		t.Helper()
		eventually(t, func() error {
			slices, err := trial.Client().DiscoveryV1().EndpointSlices(ns).List(t.Context(),
				metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=web"})
			if err != nil {
				return err
			}
			for _, slice := range slices.Items {
				for _, endpoint := range slice.Endpoints {
					if endpoint.Addresses[0] == address && *endpoint.Conditions.Ready == ready {
						return nil
					}
				}
			}
			return fmt.Errorf("the Service does not know %s as ready: %t", address, ready)
		})
	}
	running := await(t, ns, "web", hasPhase(corev1.PodRunning))
	served(running.Status.PodIP, false)
	assert.Error(t, isReady(get(t, ns, "web")), "its gate is closed")

	open := []byte(`{"status":{"conditions":[{"type":"` + gate + `","status":"True"}]}}`)
	_, err = trial.Client().CoreV1().Pods(ns).Patch(t.Context(), "web", types.StrategicMergePatchType, open,
		metav1.PatchOptions{}, "status")
	require.NoError(t, err)
	await(t, ns, "web", isReady)
	served(running.Status.PodIP, true)
}

func TestAPodStaysInTheClusterUntilItsCloudPodIsGone(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud)
	pod := podOn(v.name(), "web")
	pod.Annotations = map[string]string{"ccisim.spillway.io/stop-seconds": "0.2",
		"ccisim.spillway.io/stop-exit-code": "7"}
	pod.Spec.TerminationGracePeriodSeconds = new(int64(1))
	create(t, ns, pod)
	await(t, ns, "web", isReady)

	release := cloud.Fault(t, ccisim.Fault{Kind: ccisim.HoldFinalizer})
	remove(t, ns, "web")
	ended := await(t, ns, "web", func(pod *corev1.Pod) error {
		if s := pod.Status.ContainerStatuses; len(s) != 1 || s[0].State.Terminated == nil {
			return errors.New("its container should have ended")
		}
		return nil
	})
	assert.Equal(t, int32(7), ended.Status.ContainerStatuses[0].State.Terminated.ExitCode,
		"the exit code is that of the cloud")
	// virtual-kubelet removes a Pod after its grace period at the latest, a little over 1s.
	assert.Never(t, func() bool {
		_, err := trial.Client().CoreV1().Pods(ns).Get(context.Background(), "web", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}, 2500*time.Millisecond, 100*time.Millisecond, "the cloud Pod is still there")
	release()
	awaitGone(t, ns, "web")
	awaitCloudPods(t, cloud, 0)
}

func TestAPodThatNeverStartedIsRemovedAtOnce(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud)
	pod := podOn(v.name(), "web")
	pod.Annotations = map[string]string{"ccisim.spillway.io/image": "missing"}
	pod.Spec.TerminationGracePeriodSeconds = new(int64(600))
	create(t, ns, pod)
	await(t, ns, "web", func(pod *corev1.Pod) error {
		if s := pod.Status.ContainerStatuses; len(s) != 1 || s[0].State.Waiting == nil ||
			!strings.Contains(s[0].State.Waiting.Reason, "Image") {
			return errors.New("it should report that its image cannot be pulled")
		}
		return nil
	})
	remove(t, ns, "web")
	awaitGone(t, ns, "web")
	awaitCloudPods(t, cloud, 0)
}

func TestPodsThatTheCloudCannotRunReportWhy(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud, func(c *Config) {
		c.Pods.CloudAnnotations = append(c.Pods.CloudAnnotations, "resource.cci.io/instance-type")
	})
	cases := map[string]struct {
		change    func(*corev1.Pod)
		wantPhase corev1.PodPhase
		want      policy.Reason
		message   string
	}{
		"a hostPath": {func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "log",
				VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/log"}}}}
		}, corev1.PodPending, policy.ReasonHostPath, policy.HostPathReplacementAnnotation},
		"another kind of volume": {func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "data",
				VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "data"}}}}
		}, corev1.PodPending, policy.ReasonVolumeKind, "data"},
		"a Job's Pod with a device fails": {func(p *corev1.Pod) {
			p.Spec.RestartPolicy = corev1.RestartPolicyNever
			devices := corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("1")}
			p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Limits: devices, Requests: devices}
		}, corev1.PodFailed, policy.ReasonExtendedResource, "nvidia.com/gpu"},
		"what only the cloud refuses": {func(p *corev1.Pod) {
			p.Annotations = map[string]string{"resource.cci.io/instance-type": "nonsense"}
		}, corev1.PodPending, provider.ReasonRefused, "nonsense"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			pod := podOn(v.name(), fmt.Sprintf("p-%x", len(name)))
			tc.change(pod)
			created := create(t, ns, pod)
			got := await(t, ns, created.Name, hasReason(string(tc.want)))
			assert.Equal(t, tc.wantPhase, got.Status.Phase)
			assert.Contains(t, got.Status.Message, tc.message)
			assert.Contains(t, events(t, ns, created.Name), string(tc.want))
			remove(t, ns, created.Name)
			awaitGone(t, ns, created.Name)
		})
	}
	assert.Empty(t, cloud.PodsEver(), "no cloud Pod was created")
	assert.Positive(t, v.metric(t, "spillway_vnode_pods_refused_total", string(policy.ReasonHostPath)))
}

// A DaemonSet that tolerates everything reaches the node. Its Pod waits there, with the documented reason, and is not
// created repeatedly.
func TestADaemonSetsPodIsForbidden(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud)
	labels := map[string]string{"app": "agent"}
	spec := podOn("", "x").Spec
	spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	spec.Affinity = onlyOn(v.name())
	set, err := trial.Client().AppsV1().DaemonSets(ns).Create(t.Context(), &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "agent"},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	eventually(t, func() error {
		pods, err := trial.Client().CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(pods.Items) != 1 || pods.Items[0].Status.Reason != string(policy.ReasonDaemonSet) ||
			pods.Items[0].Status.Phase != corev1.PodPending {
			return fmt.Errorf("there are %d Pods, and none is forbidden", len(pods.Items))
		}
		return nil
	})
	assert.Empty(t, cloud.PodsEver())
	require.NoError(t, trial.Client().AppsV1().DaemonSets(ns).Delete(t.Context(), set.Name, metav1.DeleteOptions{}))
	eventually(t, func() error {
		pods, err := trial.Client().CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		if err == nil && len(pods.Items) > 0 {
			err = errors.New("its Pod is still there")
		}
		return err
	})
}

func TestALostPodFails(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud)
	made := create(t, ns, podOn(v.name(), "web"))
	await(t, ns, "web", isReady)
	require.NoError(t,
		cloud.Client.DeletePod(t.Context(), cloudtest.Namespace, cloudPod(t, cloud, made).Name, cci.DeleteOptions{}))
	pod := await(t, ns, "web", hasReason(provider.ReasonLost))
	assert.Equal(t, corev1.PodFailed, pod.Status.Phase)
	assert.NotNil(t, pod.Status.ContainerStatuses[0].State.Terminated)
	assert.Equal(t, 1.0, v.metric(t, "spillway_vnode_pods_lost_total"))
	assert.Len(t, cloud.PodsEver(), 1, "it is not created again")
}

func TestAPodWithTheNameOfAnEarlierPodIsAnotherPod(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud)
	first := podOn(v.name(), "web-0")
	first.Annotations = map[string]string{"ccisim.spillway.io/stop-seconds": "1"}
	old := create(t, ns, first)
	await(t, ns, "web-0", isReady)
	// With force: the cluster removes the old Pod while it still runs.
	require.NoError(t, trial.Client().CoreV1().Pods(ns).Delete(t.Context(), "web-0", *metav1.NewDeleteOptions(0)))
	young := create(t, ns, podOn(v.name(), "web-0"))
	pod := await(t, ns, "web-0", isReady)
	assert.Equal(t, young.UID, pod.UID)
	assert.Equal(t, cloudPod(t, cloud, young).Status.PodIP, pod.Status.PodIP)
	eventually(t, func() error {
		_, err := cloud.Client.GetPod(t.Context(), cloudtest.Namespace, identity.CloudName(identity.KeyOf(old)))
		if cci.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errors.New("the old Pod still runs"))
	})
	assert.NoError(t, isReady(get(t, ns, "web-0")), "the end of the old Pod does not affect the new one")
}

func TestAPodThatFailsInTheClusterIsDeletedInTheCloud(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud)
	create(t, ns, podOn(v.name(), "web"))
	await(t, ns, "web", isReady)
	// As an eviction does.
	evicted := []byte(`{"status":{"phase":"Failed","reason":"Evicted"}}`)
	_, err := trial.Client().CoreV1().Pods(ns).Patch(t.Context(), "web", types.MergePatchType, evicted,
		metav1.PatchOptions{}, "status")
	require.NoError(t, err)
	awaitCloudPods(t, cloud, 0)
	assert.Equal(t, "Evicted", get(t, ns, "web").Status.Reason)
}

func TestAnnotationsOfOthersSurviveStatusUpdates(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud)
	pod := podOn(v.name(), "web")
	pod.Annotations = map[string]string{"ccisim.spillway.io/crash-loop": "true"} // A status every few milliseconds.
	create(t, ns, pod)
	for i := range 50 {
		patch, err := json.Marshal(
			map[string]any{"metadata": map[string]any{
				"annotations": map[string]string{fmt.Sprintf("example.com/a%d", i): "x"},
			}})
		require.NoError(t, err)
		_, err = trial.Client().CoreV1().Pods(ns).Patch(t.Context(), "web", types.MergePatchType, patch,
			metav1.PatchOptions{})
		require.NoError(t, err)
	}
	got := await(t, ns, "web", func(pod *corev1.Pod) error {
		if s := pod.Status.ContainerStatuses; len(s) != 1 || s[0].RestartCount < 2 {
			return errors.New("it should have been restarted twice")
		}
		return nil
	})
	for i := range 50 {
		assert.Contains(t, got.Annotations, fmt.Sprintf("example.com/a%d", i))
	}
}

func TestKubectlDebugIsRejectedWithAnEvent(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud)
	create(t, ns, podOn(v.name(), "web"))
	pod := await(t, ns, "web", isReady)
	pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{
		{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debugger", Image: "busybox"}}}
	_, err := trial.Client().CoreV1().Pods(ns).UpdateEphemeralContainers(t.Context(), "web", pod,
		metav1.UpdateOptions{})
	require.NoError(t, err)
	eventually(t, func() error {
		if !slices.Contains(events(t, ns, "web"), "CloudPodKeepsContainers") {
			return errors.New("there is no Event")
		}
		return nil
	})
	assert.NoError(t, isReady(get(t, ns, "web")))
}
