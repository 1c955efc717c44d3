package uninstall

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/machine"
	"github.com/spillway-k8s/spillway/test/system"
)

const workload = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, virtual-kubelet.io/burst-to-cci: enforce}}
    spec: {containers: [{name: web, image: "localhost/workload:1", resources: {requests: {cpu: 100m}}}]}
`

// world is a cluster with Spillway, and with a Deployment that runs in the cloud.
type world struct {
	cloud *ccisim.Sim
	// credentials is a file with the cloud's access keys, for cleaning up from outside the cluster.
	credentials string
	// before contains the objects of the cluster before Spillway was installed.
	before map[string]bool
}

// prepare creates the namespace and returns the objects of the cluster before Spillway is installed.
func prepare(t *testing.T) map[string]bool {
	t.Helper()
	must(t, "kubectl", "create", "namespace", namespace)
	t.Cleanup(func() { // Has an effect only if the test has failed.
		_, _ = run(t, "helm", "-n", namespace, "uninstall", "spillway", "--no-hooks", "--wait")
		_, _ = run(t, "kubectl", "delete", "nodes", "-l", policy.CloudClusterKey)
		_, _ = run(t, "kubectl", "delete", "deployment,pods", "--all", "-n", "default", "--force")
		_, _ = run(t, "kubectl", "delete", "namespace", namespace)
	})
	core, leases := cluster.Client().CoreV1(), cluster.Client().CoordinationV1().Leases(corev1.NamespaceNodeLease)
	eventually(t, func() error { // Controllers have completed the namespace and the node.
		_, errAccount := core.ServiceAccounts(namespace).Get(t.Context(), "default", metav1.GetOptions{})
		_, errAuthority := core.ConfigMaps(namespace).Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
		_, errLease := leases.Get(t.Context(), system.LocalNode(0), metav1.GetOptions{})
		return errors.Join(errAccount, errAuthority, errLease)
	})
	return traces(t)
}

// burst installs Spillway and sends a Deployment to the cloud.
func burst(t *testing.T) *world {
	t.Helper()
	w := &world{before: prepare(t), credentials: filepath.Join(t.TempDir(), "keys.yaml")}
	must(t, "kubectl", "-n", namespace, "create", "secret", "generic", "keys",
		"--from-literal=accessKey="+account.AccessKey, "--from-literal=secretKey="+account.SecretKey)
	w.before["secrets "+namespace+"/keys"] = true
	keys := fmt.Appendf(nil, "accessKey: %s\nsecretKey: %s\n", account.AccessKey, account.SecretKey)
	require.NoError(t, os.WriteFile(w.credentials, keys, 0o600))
	var url string
	w.cloud, url = startCloud(t)
	// The chart refuses endpoints without TLS for everybody but its own simulator. This one runs outside the cluster.
	must(t, "helm", "-n", namespace, "install", "spillway", chart, "--wait", "--timeout", "3m",
		"--skip-schema-validation", "--set", "cloud.settings.allowHTTP=true",
		"--set", "clusterID=prod,cloud.region=sim-1,cloud.projectID=project,cloud.subnetIDs={subnet}",
		"--set", "cloud.securityGroupIDs={group},cloud.endpoint="+url+",cloud.iamEndpoint="+url,
		"--set", "credentials.existingSecret=keys,uninstall.timeoutSeconds=60")
	awaitWebhook(t)
	file := filepath.Join(t.TempDir(), "web.yaml")
	require.NoError(t, os.WriteFile(file, []byte(workload), 0o600))
	must(t, "kubectl", "apply", "-f", file)
	must(t, "kubectl", "rollout", "status", "deployment/web", "--timeout=60s")
	require.Equal(t, 2, w.cloud.CountPods(cloudNamespace, corev1.PodRunning))
	return w
}

// awaitWebhook returns when the API server calls admission for Pods.
func awaitWebhook(t *testing.T) {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "probe", Annotations: map[string]string{policy.LocalReplicasAnnotation: "1"},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "probe", Image: machine.WorkloadImage}}},
	}
	pods, dryRun := cluster.Client().CoreV1().Pods(metav1.NamespaceDefault), []string{metav1.DryRunAll}
	eventually(t, func() error {
		answer, err := pods.Create(t.Context(), pod, metav1.CreateOptions{DryRun: dryRun})
		if err == nil && answer.Spec.SchedulerName == corev1.DefaultSchedulerName {
			err = errors.New("the webhook is not called yet")
		}
		return err
	})
}

// force ends the running Pods with the command in the refusal.
func (w *world) force(t *testing.T) {
	t.Helper()
	out, err := run(t, "helm", "-n", namespace, "uninstall", "spillway")
	require.Error(t, err)
	const refusal = `admission webhook "uninstall.spillway.io" denied the request: ` +
		`2 Pods run in the cloud. Drain the virtual nodes first`
	assert.Contains(t, out, refusal)
	_, command, found := strings.Cut(strings.TrimSpace(out), "delete these Pods: kubectl ")
	require.True(t, found, out)
	must(t, "kubectl", strings.Fields(command)...)
}

// awaitLocal returns when the Deployment's Pods run on the local node.
func awaitLocal(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		ofApp := metav1.ListOptions{LabelSelector: "app=web"}
		pods, err := cluster.Client().CoreV1().Pods(metav1.NamespaceDefault).List(t.Context(), ofApp)
		if err != nil {
			return err
		}
		local := 0
		for _, pod := range pods.Items {
			running := pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil
			if running && !strings.HasPrefix(pod.Spec.NodeName, "virtual-") {
				local++
			}
		}
		if local != 2 || len(pods.Items) != 2 {
			return fmt.Errorf("%d of %d Pods run on the local node", local, len(pods.Items))
		}
		return nil
	})
}

func TestUninstallLeavesNoTrace(t *testing.T) {
	w := burst(t)
	revision := must(t, "helm", "-n", namespace, "history", "spillway")
	w.force(t)
	assert.Equal(t, revision, must(t, "helm", "-n", namespace, "history", "spillway"),
		"a refusal does not change the release")
	assert.Equal(t, 2, w.cloud.CountPods(cloudNamespace, corev1.PodRunning))

	started := time.Now()
	out := must(t, "helm", "-n", namespace, "uninstall", "spillway")
	t.Logf("uninstalled within %s:\n%s", time.Since(started).Round(time.Second), out)
	assert.Contains(t, out, "2 cloud Pods of cluster prod without a Pod deleted")
	assert.Contains(t, out, "Cloud namespace spillway-prod deleted.")
	assert.Contains(t, out, "Nothing of Spillway remains.")
	awaitLocal(t)
	must(t, "kubectl", "delete", "deployment", "web")
	awaitTraces(t, w.before)
	assert.Empty(t, must(t, "helm", "list", "--all", "--all-namespaces", "--short"))
}

// The simulated cloud is part of the release, so nothing in it has to be removed. No Pod runs in the cloud, so nothing
// is refused.
func TestUninstallRemovesTheSimulator(t *testing.T) {
	before := prepare(t)
	must(t, "helm", "-n", namespace, "install", "spillway", chart, "--wait", "--timeout", "3m",
		"--set", "simulator.enabled=true")
	out := must(t, "helm", "-n", namespace, "uninstall", "spillway")
	assert.Contains(t, out, "Virtual node virtual-node-cci-0 deleted.\nNothing of Spillway remains.")
	awaitTraces(t, before)
}

// commands matches the commands in the output that clean up the cloud.
var commands = regexp.MustCompile(`vnode gc .*FILE`)

// In every failure helm ends, no object of the release is left, the output lists what remains, and the command in the
// output removes it.
func TestUninstallEndsAfterFailuresAndTheRestIsRemovedLater(t *testing.T) {
	for name, test := range map[string]struct {
		spoil    func(*testing.T)
		messages []string
	}{
		"the image of the Job is missing": {
			func(t *testing.T) {
				must(t, "helm", "-n", namespace, "upgrade", "spillway", chart, "--reuse-values", "--skip-schema-validation",
					"--set", "image.tag=gone")
			},
			[]string{"Warning: If Helm reports that the Job failed", "job spillway-uninstall failed: DeadlineExceeded"},
		},
		"the access key has been revoked": {
			func(t *testing.T) {
				const patch = `{"stringData": {"secretKey": "wrong"}}`
				must(t, "kubectl", "-n", namespace, "patch", "secret", "keys", "--patch", patch)
			},
			[]string{
				"What remains:\n- in cloud namespace spillway-prod objects of cluster prod", "the cloud answered 401",
				"job spillway-uninstall failed: BackoffLimitExceeded",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := burst(t)
			test.spoil(t)
			w.force(t)
			started := time.Now()
			out, err := run(t, "helm", "-n", namespace, "uninstall", "spillway")
			require.Error(t, err)
			t.Logf("ended after %s:\n%s", time.Since(started).Round(time.Second), out)
			assert.Less(t, time.Since(started), 90*time.Second)
			for _, message := range test.messages {
				assert.Contains(t, out, message)
			}
			assert.Empty(t, must(t, "helm", "list", "--all", "--all-namespaces", "--short"))
			assert.Equal(t, 2, w.cloud.CountPods(cloudNamespace, corev1.PodRunning), "the cloud Pods still run")

			// The printed command works.
			printed := commands.FindAllString(out, -1)
			require.NotEmpty(t, printed)
			args := strings.Fields(strings.Replace(printed[len(printed)-1], "FILE", w.credentials, 1))
			assert.Contains(t, must(t, "vnode", args[1:]...), "Cloud namespace spillway-prod deleted.")
			assert.Zero(t, w.cloud.CountPods(cloudNamespace, corev1.PodRunning))
			must(t, "kubectl", "delete", "nodes", "-l", policy.CloudClusterKey)
			awaitLocal(t)
			must(t, "kubectl", "delete", "deployment", "web")
			must(t, "kubectl", "-n", namespace, "delete", "job", "spillway-uninstall")
			awaitTraces(t, w.before)
		})
	}
}
