package integration

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// deleteInCloud deletes the cloud Pod of a Pod, as an operator in the cloud does.
func deleteInCloud(t *testing.T, cloud *cloudtest.Cloud, pod *corev1.Pod) {
	t.Helper()
	require.NoError(t, cloud.Client.DeletePod(t.Context(), cloudtest.Namespace,
		identity.CloudName(identity.KeyOf(pod)), cci.DeleteOptions{GraceSeconds: new(int64(0))}))
}

func TestALostCloudPodIsNoFailureOfItsJob(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t, func(c *ccisim.Config) { c.RunTime = time.Hour })
	v, ns := startOn(t, cloud)
	jobs := trial.Client().BatchV1().Jobs(ns)
	template := jobTemplateOn(v.name(), nil)
	_, err := jobs.Create(t.Context(), &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "pi"},
		Spec: batchv1.JobSpec{
			Template: template, BackoffLimit: new(int32(0)),
			PodFailurePolicy: &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
				Action: batchv1.PodFailurePolicyActionIgnore,
				OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{
					{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue},
				},
			}}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	var known []types.UID
	for range 2 {
		var pod corev1.Pod
		eventually(t, func() error {
			list, err := trial.Client().CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				return err
			}
			for _, found := range list.Items {
				if !slices.Contains(known, found.UID) && isReady(&found) == nil {
					pod = found
					return nil
				}
			}
			job, err := jobs.Get(t.Context(), "pi", metav1.GetOptions{})
			return errors.Join(err, fmt.Errorf("there are %d Pods, none of them is new and runs; the job is %+v",
				len(list.Items), job.Status))
		})
		known = append(known, pod.UID)
		deleteInCloud(t, cloud, &pod)
	}
	eventually(t, func() error {
		job, err := jobs.Get(t.Context(), "pi", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range job.Status.Conditions {
			if condition.Type == batchv1.JobFailed {
				t.Fatalf("the Job has failed: %s", condition.Message)
			}
		}
		if job.Status.Failed != 0 || job.Status.Active != 1 {
			return fmt.Errorf("the Job counts %d failures and %d active Pods", job.Status.Failed, job.Status.Active)
		}
		return nil
	})
}

func TestADeadlineRunsFromTheMomentWhenTheNodeAcceptsThePod(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud)
	t.Run("while it waits for a ConfigMap", func(t *testing.T) {
		pod := podOn(v.name(), "waits")
		pod.Spec.ActiveDeadlineSeconds = new(int64(2))
		pod.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "missing"},
		}}}
		create(t, ns, pod)
		await(t, ns, "waits", func(pod *corev1.Pod) error {
			if pod.Status.StartTime == nil {
				return fmt.Errorf("it should have a start time")
			}
			return nil
		})
		failed := await(t, ns, "waits", hasPhase(corev1.PodFailed))
		assert.Equal(t, "DeadlineExceeded", failed.Status.Reason)
		assert.Contains(t, events(t, ns, "waits"), "DeadlineExceeded")
	})
	t.Run("or when it is patched in later", func(t *testing.T) {
		made := create(t, ns, podOn(v.name(), "runs"))
		await(t, ns, "runs", isReady)
		_, err := trial.Client().CoreV1().Pods(ns).Patch(t.Context(), "runs", types.MergePatchType,
			[]byte(`{"spec":{"activeDeadlineSeconds":1}}`), metav1.PatchOptions{})
		require.NoError(t, err)
		failed := await(t, ns, "runs", hasReason("DeadlineExceeded"))
		assert.Equal(t, corev1.PodFailed, failed.Status.Phase)
		assert.NotNil(t, failed.Status.ContainerStatuses[0].State.Terminated, "its containers have ended")
		assert.False(t, failed.Status.StartTime.After(time.Now()))
		eventually(t, func() error {
			_, err := cloud.Client.GetPod(t.Context(), cloudtest.Namespace, identity.CloudName(identity.KeyOf(made)))
			if !cci.IsNotFound(err) {
				return errors.Join(errors.New("the cloud Pod should be gone"), err)
			}
			return nil
		})
	})
}

func TestAResizeIsReportedAsInfeasible(t *testing.T) {
	t.Parallel()
	v, ns := startOn(t, cloudtest.New(t))
	pod := podOn(v.name(), "web")
	pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("500m")}
	create(t, ns, pod)
	await(t, ns, "web", isReady)
	answered := ask(t, ns, "", "patch", "pod", "web", "--subresource", "resize", "--patch",
		`{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"2"}}}]}}`)
	require.Zero(t, answered.code, answered.errs)
	resized := await(t, ns, "web", func(pod *corev1.Pod) error {
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodResizePending && c.Reason == corev1.PodReasonInfeasible {
				return nil
			}
		}
		return fmt.Errorf("it should have the condition")
	})
	assert.Equal(t, "2", resized.Spec.Containers[0].Resources.Requests.Cpu().String())
	assert.Equal(t, "500m", resized.Status.ContainerStatuses[0].Resources.Requests.Cpu().String())
	assert.Contains(t, events(t, ns, "web"), "ResizeInfeasible")
}

func TestKubectlDebugEndsWithTheReason(t *testing.T) {
	t.Parallel()
	v, ns := startOn(t, cloudtest.New(t))
	create(t, ns, podOn(v.name(), "web"))
	await(t, ns, "web", isReady)
	answered := ask(t, ns, "", "debug", "web", "--image", "busybox", "--attach", "--", "sh")
	assert.Equal(t, 1, answered.code)
	assert.Contains(t, answered.errs, "the cloud adds no containers to a running Pod: use kubectl exec")
	assert.Contains(t, events(t, ns, "web"), "CloudPodKeepsContainers")
}

// What the ServiceMonitor of kube-prometheus requests, with the rights of its Prometheus.
func TestPrometheusScrapesAVirtualNode(t *testing.T) {
	t.Parallel()
	v, ns := startOn(t, cloudtest.New(t))
	create(t, ns, podOn(v.name(), "web"))
	await(t, ns, "web", isReady)
	prometheus := token(t, ns, "prometheus", rbacv1.PolicyRule{
		APIGroups: []string{""}, Resources: []string{"nodes/metrics"}, Verbs: []string{"get"},
	})
	for path, want := range map[string]string{
		"/metrics":          fmt.Sprintf("kubelet_node_name{node=%q} 1", v.name()),
		"/metrics/cadvisor": "container_scrape_error 0", "/metrics/probes": "", "/metrics/slis": "",
		"/metrics/resource": "resource_scrape_error 0",
	} {
		status, body := callKubelet(t, v.config, "GET", path, prometheus)
		assert.Equal(t, 200, status, path)
		assert.Contains(t, body, want)
		parser := expfmt.NewTextParser(model.UTF8Validation)
		_, err := parser.TextToMetricFamilies(strings.NewReader(body))
		assert.NoError(t, err, path)
	}
	lister := token(t, ns, "lister", rbacv1.PolicyRule{
		APIGroups: []string{""}, Resources: []string{"nodes/pods"}, Verbs: []string{"get"},
	})
	for _, path := range []string{"/pods", "/runningpods/"} {
		status, body := callKubelet(t, v.config, "GET", path, lister)
		assert.Equal(t, 200, status, body)
		assert.Contains(t, body, `"name":"web"`, path)
	}
}
