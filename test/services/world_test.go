package services

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/ccisim/ccisimtest"
	"github.com/spillway-k8s/spillway/test/machine"
	"github.com/spillway-k8s/spillway/test/services/peer"
	"github.com/spillway-k8s/spillway/test/system"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

const (
	chart           = "../../charts/spillway"
	systemNamespace = "spillway-system"
	cloudNamespace  = "spillway-services"
	shop            = "shop"
	local           = "local"
	// resolver is the address of a DNS server that knows outsideName only, the name of a server of this process.
	resolver    = "10.250.0.53"
	outsideName = "partner.example.com"
	outsidePort = "8000"
	// timeout is how long a condition may take to become true.
	timeout = 2 * time.Minute
	poll    = 100 * time.Millisecond
)

// world is a cluster with Spillway, a cloud, and Pods in both.
type world struct {
	*machine.Machine
	binDir string
	// access is the administrator's way to the API server.
	access *rest.Config
	sim    *ccisim.Sim
	cloud  *cci.Client
}

// pod is a Pod that runs peer.
type pod struct {
	*corev1.Pod
	world *world
	// cloudName is the name of its cloud Pod, empty on a local node.
	cloudName string
}

// startWorld starts everything.
func startWorld(t *testing.T) *world {
	t.Helper()
	binDir, err := system.FindBinDir()
	require.NoError(t, err)
	run := filepath.Dir(binDir)
	parts := filepath.Join(run, "machine")
	images, err := machine.Built(parts, chart)
	require.NoError(t, err)
	m, err := machine.Start(t.Context(), machine.Config{
		Dir: filepath.Join(run, "services"), BinDir: binDir, PartsDir: parts, Nodes: 2, Nameserver: resolver,
		Progress: t.Output(), Images: images,
	})
	require.NoError(t, err)
	require.NoError(t, m.ServeNames(t.Context(), resolver, map[string]string{outsideName: machine.ControlAddress}))
	w := &world{Machine: m, binDir: binDir}
	w.access, err = clientcmd.BuildConfigFromFlags("", m.Kubeconfig())
	require.NoError(t, err)
	w.access.QPS = -1
	w.serveOutside(t)
	w.startCloud(t, parts)
	w.run(t, "helm", "install", "spillway", chart, "--namespace="+systemNamespace, "--create-namespace",
		"--values=testdata/values.yaml", "--post-renderer=testdata/http.sh", "--wait", "--timeout=5m")
	w.createNamespace(t)
	w.createPods(t, place{Name: local, Local: true, Modes: policy.ServicesModes()})
	return w
}

// serveOutside runs the server of outsideName, in this process.
func (w *world) serveOutside(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	address := "--http=" + net.JoinHostPort(machine.ControlAddress, outsidePort)
	go func() { assert.NoError(t, peer.Run(ctx, []string{"serve", address}, io.Discard)) }()
}

// startCloud runs the cloud in this process, at the address that the chart has (testdata/http.sh).
func (w *world) startCloud(t *testing.T, parts string) {
	t.Helper()
	programs := filepath.Join(parts, "images")
	config := ccisimtest.Quick(cloudtest.Account)
	config.Processes, config.Networks = true, true
	config.SubnetCIDR = "10.246.0.0/24"
	config.Subnets = []ccisim.Subnet{{VPCID: "vpc", NeutronID: "subnet", CIDR: "10.246.1.0/24"}}
	config.Images = map[string]string{
		"localhost/peer":                      filepath.Join(programs, "peer"),
		"ghcr.io/spillway-k8s/spillway-proxy": filepath.Join(programs, runtime.GOARCH, "proxy"),
		"registry.k8s.io/kube-proxy":          filepath.Join(parts, "kube-proxy"),
	}
	var err error
	w.sim, err = ccisim.New(config)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", net.JoinHostPort(machine.ControlAddress, "10243"))
	require.NoError(t, err)
	serving := &http.Server{Handler: w.sim.ServiceHandler()}
	go func() { _ = serving.Serve(listener) }()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.sim.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-done)
		_ = serving.Close()
		assert.NoError(t, w.sim.Close())
	})
	url := "http://" + listener.Addr().String()
	client := (&cloudtest.Cloud{URL: url}).Config()
	client.AllowHTTP = true
	w.cloud = cloudtest.NewClient(t, client)
	require.NoError(t, w.route(policy.ServicesOff))
}

// route sets the routes of the VPC for a mode. Local Pods, vnode and the API server are always reachable.
func (w *world) route(mode policy.ServicesMode) error {
	routes := []string{machine.PodNetwork, machine.ControlNetwork}
	if mode == policy.ServicesRouted {
		routes = append(routes, machine.ServiceNetwork)
	}
	return w.sim.SetRoutes(routes)
}

// place is where Pods run: on local nodes, or in the cloud with a mode.
type place struct {
	Name  string
	Local bool
	// Modes are those of clients that have the servers in both places as endpoints.
	Modes []policy.ServicesMode
	// DNS is the name server of the client, empty for the usual one.
	DNS string
}

// inCloud returns the place of Pods in the cloud with a mode.
func inCloud(mode policy.ServicesMode) place {
	p := place{Name: string(mode), Modes: []policy.ServicesMode{mode}}
	if mode == policy.ServicesOff {
		p.DNS = machine.ControlAddress // As docs/guides/services.md says, at an address that the cloud reaches.
	}
	return p
}

func (w *world) createNamespace(t *testing.T) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: shop}}
	_, err := w.Client().CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{})
	require.NoError(t, err)
}

// createPods creates a StatefulSet of servers and a client in a place.
func (w *world) createPods(t *testing.T, in place) {
	t.Helper()
	var manifest bytes.Buffer
	pods := template.Must(template.ParseFiles("testdata/pods.yaml.tmpl"))
	require.NoError(t, pods.Execute(&manifest, in))
	file := filepath.Join(t.TempDir(), "pods.yaml")
	require.NoError(t, os.WriteFile(file, manifest.Bytes(), 0o600))
	w.eventually(t, "the Pods to be created", func(context.Context) error {
		return w.command(t, "kubectl", "apply", "--filename="+file).Run()
	})
	w.eventually(t, "all Pods to be Ready", func(ctx context.Context) error {
		list, err := w.Client().CoreV1().Pods(shop).List(ctx, metav1.ListOptions{LabelSelector: "place=" + in.Name})
		if err != nil {
			return err
		}
		var waiting []string
		for _, pod := range list.Items {
			if !isReady(&pod) {
				waiting = append(waiting, pod.Name)
			}
		}
		if len(waiting) > 0 || len(list.Items) != 3 {
			return fmt.Errorf("%d Pods exist, want 3; not Ready: %v", len(list.Items), waiting)
		}
		return nil
	})
}

func isReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// servers returns the servers of a place.
func (w *world) servers(t *testing.T, place string) []pod { return w.pods(t, "servers="+place) }

// client returns the client of a place.
func (w *world) client(t *testing.T, place string) pod {
	t.Helper()
	found, err := w.Client().CoreV1().Pods(shop).Get(t.Context(), "client-"+place, metav1.GetOptions{})
	require.NoError(t, err)
	return w.known(t, found)
}

// pods returns the Pods with a label.
func (w *world) pods(t *testing.T, selector string) (found []pod) {
	t.Helper()
	list, err := w.Client().CoreV1().Pods(shop).List(t.Context(), metav1.ListOptions{LabelSelector: selector})
	require.NoError(t, err)
	for i := range list.Items {
		found = append(found, w.known(t, &list.Items[i]))
	}
	return found
}

// known finds the cloud Pod of a Pod, if it has one.
func (w *world) known(t *testing.T, of *corev1.Pod) pod {
	t.Helper()
	list, err := w.cloud.ListPods(t.Context(), cloudNamespace, cci.ListOptions{})
	require.NoError(t, err)
	for _, cloud := range list.Items {
		if cloud.Annotations[policy.CloudUIDAnnotation] == string(of.UID) {
			return pod{Pod: of, world: w, cloudName: cloud.Name}
		}
	}
	return pod{Pod: of, world: w}
}

// run runs a command in the Pod, and returns its output. In the cloud it calls the cloud itself, since vnode may be
// down.
func (p pod) run(ctx context.Context, container string, command ...string) (string, error) {
	var out, errs bytes.Buffer
	var err error
	if p.cloudName != "" {
		err = p.world.cloud.PodExec(ctx, cloudNamespace, p.cloudName, cci.ExecOptions{Container: container, Command: command},
			cci.ExecStreams{Stdout: &out, Stderr: &errs})
	} else {
		err = p.runLocally(ctx, container, command, &out, &errs)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w: %s%s", p.Name, strings.Join(command, " "), err, &out, &errs)
	}
	return out.String(), nil
}

func (p pod) runLocally(ctx context.Context, container string, command []string, out, errs io.Writer) error {
	request := p.world.Client().CoreV1().RESTClient().Post().Resource("pods").Namespace(p.Namespace).Name(p.Name).
		SubResource("exec").VersionedParams(&corev1.PodExecOptions{
		Container: container, Command: command, Stdout: true, Stderr: true,
	}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(p.world.access, http.MethodGet, request.URL().String())
	if err != nil {
		return err
	}
	return executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: out, Stderr: errs})
}

// ask runs peer as a client, and decodes what it prints.
func ask[T any](ctx context.Context, p pod, args ...string) (found T, err error) {
	out, err := p.run(ctx, "main", append([]string{"peer"}, args...)...)
	if err != nil {
		return found, err
	}
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		return found, fmt.Errorf("decoding %q: %w", out, err)
	}
	return found, nil
}

// command returns a command with the administrator's kubeconfig.
func (w *world) command(t *testing.T, program string, args ...string) *exec.Cmd {
	t.Helper()
	args = append([]string{"--kubeconfig", w.Kubeconfig()}, args...)
	command := exec.CommandContext(t.Context(), filepath.Join(w.binDir, program), args...)
	command.Env = []string{"HOME=/run/helm", "PATH=" + os.Getenv("PATH")} // The directory belongs to this run.
	command.Stderr = t.Output()
	return command
}

// run runs a program that has to succeed, and returns its output.
func (w *world) run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := w.command(t, program, args...).Output()
	if !assert.NoError(t, err, "%s %v", program, args) {
		w.printState(t)
		t.FailNow()
	}
	return string(out)
}

// eventually waits until the check succeeds.
func (w *world) eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	var wrong error
	for begin := time.Now(); time.Since(begin) < timeout; time.Sleep(poll) {
		if wrong = check(t.Context()); wrong == nil {
			return
		}
	}
	w.printState(t)
	require.NoError(t, wrong, "waiting for %s", what)
}

// printState prints the state of the cluster after a failure.
func (w *world) printState(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"get", "pods", "--all-namespaces", "--output=wide"}, {"get", "nodes"},
		{"get", "services,endpointslices", "--all-namespaces", "--output=wide"},
		{"get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"},
		{"logs", "--namespace", systemNamespace, "--selector=app.kubernetes.io/name=spillway", "--all-containers", "--prefix",
			"--tail=25", "--ignore-errors"},
	} {
		output, _ := w.command(t, "kubectl", args...).Output()
		t.Logf("kubectl %s\n%s", strings.Join(args, " "), output)
	}
}
