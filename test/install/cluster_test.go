package install

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
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
	"github.com/spillway-k8s/spillway/test/machine"
	"github.com/spillway-k8s/spillway/test/stories"
	"github.com/spillway-k8s/spillway/test/system"
)

const (
	// namespace is where Spillway is installed, and release its name.
	namespace = "spillway-system"
	release   = "spillway"
	// chart and buffer are the charts.
	chart  = "../../charts/spillway"
	buffer = "../../charts/placeholder"
	// patience is how long a condition may take to hold.
	patience = 2 * time.Minute
	poll     = 100 * time.Millisecond
)

// Nodes of the cluster: as many for the stories as they need, and two that Spillway itself runs on.
var (
	storyNodes  = stories.Shape().LocalNodes
	systemNodes = []string{system.LocalNode(storyNodes), system.LocalNode(storyNodes + 1)}
)

// cluster is what Spillway is installed in.
type cluster struct {
	*machine.Machine
	binDir string
}

// startCluster starts a cluster that knows nothing of Spillway, but has its images.
func startCluster(t *testing.T) *cluster {
	t.Helper()
	binDir, err := system.FindBinDir()
	require.NoError(t, err)
	run := filepath.Dir(binDir)
	parts := filepath.Join(run, "machine")
	images, err := machine.Built(parts, chart)
	require.NoError(t, err)
	images = append(images, machine.Image{Archive: filepath.Join(parts, "images", "workload.tar"), Names: []string{"docker.io/library/nginx:1.29"}}) // A story changes to it.
	m, err := machine.Start(t.Context(), machine.Config{
		Dir: filepath.Join(run, "install"), BinDir: binDir, PartsDir: parts, Nodes: storyNodes + len(systemNodes), Progress: t.Output(),
		Images: images,
	})
	require.NoError(t, err)
	c := &cluster{Machine: m, binDir: binDir}
	for _, node := range systemNodes {
		c.kubectl(t, "label", "node", node, "node-role.kubernetes.io/control-plane=")
		c.kubectl(t, "taint", "node", node, "node-role.kubernetes.io/control-plane=:NoSchedule")
	}
	return c
}

// helm runs helm as the administrator and returns what it prints.
func (c *cluster) helm(t *testing.T, args ...string) string {
	t.Helper()
	return c.run(t, "helm", append([]string{"--namespace", namespace}, args...)...)
}

// kubectl runs kubectl as the administrator and returns what it prints.
func (c *cluster) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return c.run(t, "kubectl", args...)
}

func (c *cluster) run(t *testing.T, program string, args ...string) string {
	t.Helper()
	t.Logf("$ %s %s", program, strings.Join(args, " "))
	command := exec.CommandContext(t.Context(), filepath.Join(c.binDir, program), append([]string{"--kubeconfig", c.Kubeconfig()}, args...)...)
	command.Env = []string{"HOME=/run/helm"} // Of this run alone.
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if !assert.NoError(t, command.Run(), "%s %s%s", program, stdout.String(), stderr.String()) {
		c.tell(t)
		t.FailNow()
	}
	return stdout.String()
}

// tell shows how Spillway is when something went wrong.
func (c *cluster) tell(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"get", "pods", "--all-namespaces", "--output=wide"}, {"get", "nodes"}, {"get", "events", "--namespace", namespace, "--sort-by=.lastTimestamp"},
		{"logs", "--namespace", namespace, "--selector=app.kubernetes.io/name=spillway", "--all-containers", "--prefix", "--tail=25", "--ignore-errors"},
	} {
		output, _ := exec.Command(filepath.Join(c.binDir, "kubectl"), append([]string{"--kubeconfig", c.Kubeconfig()}, args...)...).CombinedOutput()
		t.Logf("kubectl %s\n%s", strings.Join(args, " "), output)
	}
}

// imagesOfStories are those that manifests of stories name.
var imagesOfStories = regexp.MustCompile(`image: (nginx|perl|pause|pi)\b(:[a-z0-9.]+)?`)

// world is the cluster for stories. Their Pods run one image of ours at home, since there is no registry.
func (c *cluster) world(t *testing.T) *stories.World {
	t.Helper()
	return stories.NewWorldOn(stories.Cluster{
		Client: c.Client(), Kubeconfig: c.Kubeconfig(), BinDir: c.binDir, Cloud: c.simulated(t),
		Edit: func(manifest string) string {
			return imagesOfStories.ReplaceAllString(manifest, "image: "+machine.WorkloadImage)
		},
	}, t.Output())
}

// simulated is the cloud that the chart brings.
func (c *cluster) simulated(t *testing.T) system.Cloud {
	t.Helper()
	service, err := c.Client().CoreV1().Services(namespace).Get(t.Context(), "spillway-simulator", metav1.GetOptions{})
	require.NoError(t, err)
	return system.Cloud{
		Endpoint: fmt.Sprintf("http://%s:10243", service.Spec.ClusterIP), Region: "sim-1", ProjectID: "simulated", Namespace: "spillway-simulated",
		AccessKey: "simulated", SecretKey: "simulated",
	}
}

// play plays stories, each as a test of its own.
func (c *cluster) play(t *testing.T, all []stories.Story) {
	t.Helper()
	world := c.world(t)
	for _, story := range all {
		t.Run(story.Name, func(t *testing.T) {
			if !assert.NoError(t, world.Play(t.Context(), story)) {
				c.tell(t)
				t.FailNow()
			}
		})
	}
	require.NoError(t, world.AwaitGone(t.Context()))
}

// eventually waits until the check finds nothing wrong.
func (c *cluster) eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	var wrong error
	if !assert.Eventually(t, func() bool { wrong = check(t.Context()); return wrong == nil }, patience, poll, what) {
		c.tell(t)
		require.NoError(t, wrong, what)
	}
}

// own are the Pods of Spillway itself, but for the simulator, which stands for the cloud.
func (c *cluster) own(ctx context.Context) ([]corev1.Pod, error) {
	list, err := c.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component!=simulator"})
	if err != nil {
		return nil, fmt.Errorf("listing the Pods of Spillway: %w", err)
	}
	return list.Items, nil
}

// virtualNodes are the names of the virtual nodes that are Ready.
func (c *cluster) virtualNodes(ctx context.Context) ([]string, error) {
	list, err := c.Client().CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: policy.NodeTypeLabel + "=" + policy.NodeTypeVirtual})
	if err != nil {
		return nil, fmt.Errorf("listing virtual nodes: %w", err)
	}
	var ready []string
	for _, node := range list.Items {
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				ready = append(ready, node.Name)
			}
		}
	}
	return ready, nil
}
