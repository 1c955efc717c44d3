package chart

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/test/system"
)

// start runs a program until the test ends.
func start(t *testing.T, program string, args ...string) {
	t.Helper()
	logs := &programtest.Log{}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, filepath.Join(bin, program), args...)
	cmd.Stdout, cmd.Stderr = logs, logs
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // The program was killed.
		if t.Failed() {
			t.Logf("the log of %s ends:\n%s", program, logs.Tail())
		}
	})
}

// kubeconfig writes a kubeconfig file for a ServiceAccount of the release.
func kubeconfig(t *testing.T, account string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), account)
	token := strings.TrimSpace(onCluster(t, "kubectl", "create", "token", account, "--namespace", namespace))
	for _, args := range [][]string{
		{
			"set-cluster", "c", "--server", trial.Endpoint(system.APIServer),
			"--certificate-authority", trial.AuthorityFile(),
		},
		{"set-credentials", "u", "--token", token},
		{"set-context", "x", "--cluster", "c", "--user", "u"},
		{"use-context", "x"},
	} {
		_, err := run("kubectl", append([]string{"--kubeconfig", file, "config"}, args...)...)
		require.NoError(t, err)
	}
	return file
}

// ready waits until a program is ready.
func ready(t *testing.T, url string) {
	t.Helper()
	programtest.Eventually(t, func() error { _, err := programtest.Get(url + "/readyz"); return err })
}

func address(url string) string { _, rest, _ := strings.Cut(url, "://"); return rest }

// startExtender starts the extender as it runs next to the scheduler.
func startExtender(t *testing.T, dir, kubeconfig string) {
	t.Helper()
	health := programtest.FreeAddress(t)
	start(t, "extender", "--config", filepath.Join(dir, "extender.yaml"), "--kubeconfig", kubeconfig,
		"--listen", address(trial.Endpoint(system.Extender)), "--health-listen", health)
	ready(t, "http://"+health)
}

// startScheduler starts kube-scheduler with the configuration file of the chart. Only the connection to the API server
// and the port of the extender differ from those in a Pod.
func startScheduler(t *testing.T, dir, kubeconfig string) {
	t.Helper()
	file := filepath.Join(dir, "scheduler.yaml")
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	content = []byte(strings.Replace(string(content), "127.0.0.1:10290", address(trial.Endpoint(system.Extender)), 1))
	var configuration map[string]any
	require.NoError(t, yaml.Unmarshal(content, &configuration))
	configuration["clientConnection"].(map[string]any)["kubeconfig"] = kubeconfig
	content, err = yaml.Marshal(configuration)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, content, 0o600))
	_, port, _ := strings.Cut(address(trial.Endpoint(system.Scheduler)), ":")
	start(t, "kube-scheduler", "--config", file, "--bind-address=127.0.0.1", "--secure-port", port)
}

// withQuota returns a ReplicaSet whose Pods have a local quota, the scheduler that admission assigns, and resources.
func withQuota(name string, resources corev1.ResourceRequirements) *appsv1.ReplicaSet {
	labels, annotations := map[string]string{"app": name}, map[string]string{policy.LocalReplicasAnnotation: "1"}
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: new(int32(1)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: annotations},
				Spec: corev1.PodSpec{
					SchedulerName: "spillway-scheduler",
					Containers:    []corev1.Container{{Name: "c", Image: "nginx", Resources: resources}},
				},
			},
		},
	}
}

// TestTheProgramsWorkWithTheChart runs each program with its configuration file and the permissions of its
// ServiceAccount, and nothing else.
func TestTheProgramsWorkWithTheChart(t *testing.T) {
	install(t, simulated()...)
	client := trial.Client()

	t.Run("the scheduler places Pods, and the extender writes their slots", func(t *testing.T) {
		dir := configFiles(t, "spillway-scheduler", simulated("--namespace", namespace)...)
		scheduler := kubeconfig(t, "spillway-scheduler")
		startExtender(t, dir, scheduler)
		startScheduler(t, dir, scheduler)
		sets, pods := client.AppsV1().
			ReplicaSets(metav1.NamespaceDefault),
			client.CoreV1().
				Pods(metav1.NamespaceDefault)
		marker := corev1.ResourceList{policy.PlacementResource: resource.MustParse("1")}
		for name, resources := range map[string]corev1.ResourceRequirements{
			"quota": {},
			// Admission added the marker resource before the upgrade.
			"marked": {Requests: marker, Limits: marker},
		} {
			_, err := sets.Create(t.Context(), withQuota(name, resources), metav1.CreateOptions{})
			require.NoError(t, err)
			t.Cleanup(func() { onCluster(t, "kubectl", "delete", "replicaset", name) })
			programtest.Eventually(t, func() error {
				list, err := pods.List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + name})
				if err != nil || len(list.Items) != 1 {
					return fmt.Errorf("there should be one Pod, not %d: %w", len(list.Items), err)
				}
				pod := list.Items[0]
				if pod.Spec.NodeName != system.LocalNode(0) ||
					pod.Annotations[policy.LocalSlotAnnotation] != string(pod.UID) {
					return fmt.Errorf("the Pod should be on the local node and have a slot: %q, %v, %v",
						pod.Spec.NodeName, pod.Annotations, pod.Status.Conditions)
				}
				return nil
			})
		}
		lease, err := client.CoordinationV1().
			Leases(namespace).
			Get(t.Context(), "spillway-scheduler", metav1.GetOptions{})
		require.NoError(t, err)
		assert.NotEmpty(t, *lease.Spec.HolderIdentity)
	})
	t.Run("admission creates its certificate and registers its CA, and an upgrade keeps it", func(t *testing.T) {
		dir := configFiles(t, "spillway-admission", simulated("--namespace", namespace)...)
		health := programtest.FreeAddress(t)
		start(t, "admission", "--config", filepath.Join(dir, "admission.yaml"),
			"--kubeconfig", kubeconfig(t, "spillway-admission"),
			"--listen", address(trial.Endpoint(system.Admission)), "--health-listen", health)
		ready(t, "http://"+health)
		registered := authorities(t)
		upgrade(t, simulated("--set", "admission.replicas=2")...)
		assert.Equal(t, registered, authorities(t))
	})
	t.Run("the virtual node becomes ready", func(t *testing.T) {
		dir := configFiles(t, "spillway-vnode", simulated("--namespace", namespace)...)
		keys := filepath.Join(dir, "credentials.yaml")
		require.NoError(t, os.WriteFile(keys, []byte("accessKey: simulated\nsecretKey: simulated\n"), 0o600))
		cloud := trial.Endpoint(system.CCISim)
		start(t, "ccisim", "--listen", address(cloud), "--credentials-file", keys)
		ready(t, cloud)
		health := programtest.FreeAddress(t)
		start(t, "vnode", "--config", filepath.Join(dir, "vnode.yaml"), "--kubeconfig", kubeconfig(t, "spillway-vnode"),
			"--process-name=spillway-vnode-0", "--node-ip=127.0.0.1", "--client-ca-file", trial.AuthorityFile(),
			"--listen", programtest.FreeAddress(t), "--health-listen", health,
			"--cci-endpoint", cloud, "--iam-endpoint", cloud, "--cci-credentials-file", keys)
		ready(t, "http://"+health)
		t.Cleanup(func() { onCluster(t, "kubectl", "delete", "node", "virtual-node-cci-0") })
		node, err := client.CoreV1().Nodes().Get(t.Context(), "virtual-node-cci-0", metav1.GetOptions{})
		require.NoError(t, err)
		assert.Contains(t, node.Spec.Taints, policy.ProviderTaint())
	})
}

// authorities returns the CA of every registered webhook. Each must have one.
func authorities(t *testing.T) (registered []string) {
	t.Helper()
	client := trial.Client().AdmissionregistrationV1()
	mutating, err := client.MutatingWebhookConfigurations().Get(t.Context(), "spillway", metav1.GetOptions{})
	require.NoError(t, err)
	for _, w := range mutating.Webhooks {
		registered = append(registered, w.Name+string(w.ClientConfig.CABundle))
		assert.NotEmpty(t, w.ClientConfig.CABundle, w.Name)
	}
	validating, err := client.ValidatingWebhookConfigurations().Get(t.Context(), "spillway", metav1.GetOptions{})
	require.NoError(t, err)
	for _, w := range validating.Webhooks {
		registered = append(registered, w.Name+string(w.ClientConfig.CABundle))
		assert.NotEmpty(t, w.ClientConfig.CABundle, w.Name)
	}
	return registered
}
