package machine

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/spillway-k8s/spillway/test/system"
)

func TestMain(m *testing.M) { os.Exit(Isolate(m.Run)) }

func startMachine(t *testing.T, nodes int) *Machine {
	t.Helper()
	binDir, err := system.FindBinDir()
	require.NoError(t, err)
	parts := filepath.Join(filepath.Dir(binDir), "machine")
	images, err := Built(parts, "../../charts/spillway")
	require.NoError(t, err)
	m, err := Start(t.Context(), Config{
		Dir: filepath.Join(filepath.Dir(binDir), "machine-test"), BinDir: binDir, PartsDir: parts, Nodes: nodes,
		Progress: t.Output(),
		Images:   images,
	})
	require.NoError(t, err)
	return m
}

func TestPodsOfAllNodesServeOneService(t *testing.T) {
	m := startMachine(t, 2)
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{
		Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: WorkloadImage}}},
		},
	}}
	_, err := m.Client().AppsV1().Deployments("default").Create(t.Context(), deployment, metav1.CreateOptions{})
	require.NoError(t, err)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		found, err := m.Client().AppsV1().Deployments("default").Get(t.Context(), "web", metav1.GetOptions{})
		require.NoError(c, err)
		assert.EqualValues(c, 2, found.Status.ReadyReplicas)
	}, timeout, 100*time.Millisecond)

	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{
			"app": "web"}, Ports: []corev1.ServicePort{{Port: 8080, TargetPort: intstr.FromInt32(80)}},
	}}
	_, err = m.Client().CoreV1().Services("default").Create(t.Context(), service, metav1.CreateOptions{})
	require.NoError(t, err)
	names := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", net.JoinHostPort(DNSAddress, "53"))
	}}
	var addresses []string
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		addresses, err = names.LookupHost(t.Context(), "web.default.svc.cluster.local.")
		require.NoError(c, err)
	}, timeout, 100*time.Millisecond)
	_, err = names.LookupHost(t.Context(), "wrong.default.svc.cluster.local.")
	require.ErrorContains(t, err, "no such host")

	answers := map[string]bool{}
	require.Eventually(t, func() bool {
		if name, err := get(t, "http://"+addresses[0]+":8080"); err == nil {
			answers[name] = true
		}
		return len(answers) == 2
	}, timeout, 10*time.Millisecond, "both Pods answer through the Service")
	pods, err := m.Client().CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	nodes := map[string]bool{}
	for _, pod := range pods.Items {
		assert.Contains(t, answers, pod.Name)
		nodes[pod.Spec.NodeName] = true
	}
	assert.Equal(t, map[string]bool{system.LocalNode(0): true, system.LocalNode(1): true}, nodes,
		"one Pod runs on each node")
	node, err := m.Client().CoreV1().Nodes().Get(t.Context(), system.LocalNode(0), metav1.GetOptions{})
	require.NoError(t, err)
	assert.EqualValues(t, coresOfANode, node.Status.Allocatable.Cpu().Value())
}

// get returns the answer of the test server, over a new connection.
func get(t *testing.T, url string) (string, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return strings.TrimSpace(string(body)), err
}
