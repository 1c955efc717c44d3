package install

import (
	"bufio"
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
	// namespace is the namespace of Spillway, and release the name of its release.
	namespace = "spillway-system"
	release   = "spillway"
	// chart and buffer are the charts.
	chart  = "../../charts/spillway"
	buffer = "../../charts/placeholder"
	// timeout is how long a condition may take to become true.
	timeout = 2 * time.Minute
	poll    = 100 * time.Millisecond
)

// Nodes of the cluster: as many as the stories need, and two for Spillway itself.
var (
	storyNodes  = stories.Shape().LocalNodes
	systemNodes = []string{system.LocalNode(storyNodes), system.LocalNode(storyNodes + 1)}
)

// cluster is the cluster in which Spillway is installed.
type cluster struct {
	*machine.Machine
	binDir string
}

// startCluster starts a cluster without Spillway, but with its images.
func startCluster(t *testing.T) *cluster {
	t.Helper()
	binDir, err := system.FindBinDir()
	require.NoError(t, err)
	run := filepath.Dir(binDir)
	parts := filepath.Join(run, "machine")
	images, err := machine.Built(parts, chart)
	require.NoError(t, err)
	images = append(images, machine.Image{ // A story updates to this image.
		Archive: filepath.Join(parts, "images", "workload.tar"), Names: []string{"docker.io/library/nginx:1.29"},
	})
	m, err := machine.Start(t.Context(), machine.Config{
		Dir: filepath.Join(run, "install"), BinDir: binDir, PartsDir: parts, Nodes: storyNodes + len(systemNodes),
		Progress: t.Output(), Images: images,
	})
	require.NoError(t, err)
	c := &cluster{Machine: m, binDir: binDir}
	for _, node := range systemNodes {
		c.kubectl(t, "label", "node", node, "node-role.kubernetes.io/control-plane=")
		c.kubectl(t, "taint", "node", node, "node-role.kubernetes.io/control-plane=:NoSchedule")
	}
	return c
}

// helm runs helm as the administrator and returns its output.
func (c *cluster) helm(t *testing.T, args ...string) string {
	t.Helper()
	return c.run(t, "helm", append([]string{"--namespace", namespace}, args...)...)
}

// kubectl runs kubectl as the administrator and returns its output.
func (c *cluster) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return c.run(t, "kubectl", args...)
}

func (c *cluster) run(t *testing.T, program string, args ...string) string {
	t.Helper()
	t.Logf("$ %s %s", program, strings.Join(args, " "))
	args = append([]string{"--kubeconfig", c.Kubeconfig()}, args...)
	command := exec.CommandContext(t.Context(), filepath.Join(c.binDir, program), args...)
	command.Env = []string{"HOME=/run/helm"} // The directory belongs to this run.
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if !assert.NoError(t, command.Run(), "%s %s%s", program, stdout.String(), stderr.String()) {
		c.printState(t)
		t.FailNow()
	}
	return stdout.String()
}

// printState prints the state of Spillway after a failure.
func (c *cluster) printState(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"get", "pods", "--all-namespaces", "--output=wide"}, {"get", "nodes"},
		{"get", "events", "--namespace", namespace, "--sort-by=.lastTimestamp"},
		{
			"logs", "--namespace", namespace, "--selector=app.kubernetes.io/name=spillway", "--all-containers", "--prefix",
			"--tail=25", "--ignore-errors",
		},
	} {
		args := append([]string{"--kubeconfig", c.Kubeconfig()}, args...)
		output, _ := exec.Command(filepath.Join(c.binDir, "kubectl"), args...).CombinedOutput()
		t.Logf("kubectl %s\n%s", strings.Join(args, " "), output)
	}
}

// imagesOfStories matches the images in the manifests of stories.
var imagesOfStories = regexp.MustCompile(`image: (nginx|perl|pause|pi)\b(:[a-z0-9.]+)?`)

// world returns the cluster for stories. On local nodes their Pods use the test image, because there is no registry.
func (c *cluster) world(t *testing.T) *stories.World {
	t.Helper()
	return stories.NewWorldOn(stories.Cluster{
		Client: c.Client(), Kubeconfig: c.Kubeconfig(), BinDir: c.binDir, Cloud: c.simulated(t),
		WithoutTokens: true, // The chart never copies tokens to the simulator.
		Edit: func(manifest string) string {
			return imagesOfStories.ReplaceAllString(manifest, "image: "+machine.WorkloadImage)
		},
	}, t.Output())
}

// simulated returns the simulated cloud of the chart, with the key that the chart has generated.
func (c *cluster) simulated(t *testing.T) system.Cloud {
	t.Helper()
	service, err := c.Client().CoreV1().Services(namespace).Get(t.Context(), "spillway-simulator", metav1.GetOptions{})
	require.NoError(t, err)
	secret, err := c.Client().CoreV1().Secrets(namespace).Get(t.Context(), "spillway-simulator", metav1.GetOptions{})
	require.NoError(t, err)
	return system.Cloud{
		Endpoint: fmt.Sprintf("http://%s:10243", service.Spec.ClusterIP), Region: "sim-1", ProjectID: "simulated",
		Control:   c.forward(t, "deployment/spillway-simulator", 10244),
		Namespace: "spillway-simulated",
		AccessKey: string(secret.Data["accessKey"]), SecretKey: string(secret.Data["secretKey"]),
	}
}

// forward forwards a port that a Pod serves on its loopback interface, until the test ends, and returns its URL.
func (c *cluster) forward(t *testing.T, of string, port int) (url string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), filepath.Join(c.binDir, "kubectl"), "--kubeconfig", c.Kubeconfig(),
		"port-forward", "--namespace", namespace, of, fmt.Sprintf(":%d", port))
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	t.Cleanup(func() { _ = command.Wait() }) // The end of the test has killed it.
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err, stderr.String())
	address := regexp.MustCompile(`^Forwarding from (127\.0\.0\.1:\d+) `).FindStringSubmatch(line)
	require.NotNil(t, address, line)
	return "http://" + address[1]
}

// play plays stories, each as a subtest.
func (c *cluster) play(t *testing.T, all []stories.Story) {
	t.Helper()
	world := c.world(t)
	for _, story := range all {
		t.Run(story.Name, func(t *testing.T) {
			if !assert.NoError(t, world.Play(t.Context(), story)) {
				c.printState(t)
				t.FailNow()
			}
		})
	}
	require.NoError(t, world.AwaitGone(t.Context()))
}

// eventually waits until the check succeeds.
func (c *cluster) eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	var wrong error
	succeeds := func() bool { wrong = check(t.Context()); return wrong == nil }
	if !assert.Eventually(t, succeeds, timeout, poll, what) {
		c.printState(t)
		require.NoError(t, wrong, what)
	}
}

// own returns the Pods of Spillway, without the simulator, which represents the cloud.
func (c *cluster) own(ctx context.Context) ([]corev1.Pod, error) {
	notSimulator := metav1.ListOptions{LabelSelector: "app.kubernetes.io/component!=simulator"}
	list, err := c.Client().CoreV1().Pods(namespace).List(ctx, notSimulator)
	if err != nil {
		return nil, fmt.Errorf("listing the Pods of Spillway: %w", err)
	}
	return list.Items, nil
}

// virtualNodes returns the names of the virtual nodes that are Ready.
func (c *cluster) virtualNodes(ctx context.Context) ([]string, error) {
	virtual := metav1.ListOptions{LabelSelector: policy.NodeTypeLabel + "=" + policy.NodeTypeVirtual}
	list, err := c.Client().CoreV1().Nodes().List(ctx, virtual)
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
