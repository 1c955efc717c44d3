// Package networks tests the networks and containers of the simulated cloud, as root, in namespaces of a process.
package networks

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
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/machine"
	"github.com/spillway-k8s/spillway/test/services/peer"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

// asProgram in the environment makes this program that of a container, or a simulated cloud.
const (
	asProgram  = "NETWORKS_TEST_PROGRAM"
	peerImage  = "test/peer"
	machineNet = "10.250.0.0/24"
)

func TestMain(m *testing.M) {
	ccisim.Init()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	switch os.Getenv(asProgram) {
	case "peer":
		if err := peer.Run(ctx, os.Args[1:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "cloud":
		if err := runCloud(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		os.Exit(machine.Isolate(m.Run))
	}
}

// withNetworks switches the networks on, with two subnets and the image of peers.
func withNetworks(t testing.TB) func(*ccisim.Config) {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	return func(config *ccisim.Config) {
		config.Processes, config.Networks = true, true
		config.SubnetCIDR = "10.246.0.0/24"
		config.Subnets = []ccisim.Subnet{
			{VPCID: "vpc-a", NeutronID: "subnet", CIDR: "10.246.1.0/24"},
			{VPCID: "vpc-b", NeutronID: "other", CIDR: "10.246.2.0/24"},
		}
		config.Images = map[string]string{peerImage: program}
	}
}

// cloud is a cloud with networks.
type cloud struct {
	t *testing.T
	*cloudtest.Cloud
}

func newCloud(t *testing.T, changes ...func(*ccisim.Config)) cloud {
	t.Helper()
	return cloud{t, cloudtest.NewWithNetwork(t, append([]func(*ccisim.Config){withNetworks(t)}, changes...)...)}
}

// container returns a container of the image of peers.
func container(command ...string) cci.Container {
	size := corev1.ResourceList{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("1Gi")}
	return cci.Container{
		Name: "main", Image: peerImage + ":1", Args: command, Env: []corev1.EnvVar{{Name: asProgram, Value: "peer"}},
		Resources: cci.Resources{Limits: size, Requests: size},
	}
}

// shell returns a container that runs a script with the programs of this machine.
func shell(script string) cci.Container {
	c := container()
	c.Command = []string{"sh", "-c", script}
	return c
}

// server returns a container that serves HTTP, TCP and UDP, and is ready when it does.
func server() cci.Container {
	c := container("serve", "--http=:80", "--tcp=:7", "--udp=:7")
	c.ReadinessProbe = &cci.Probe{
		HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(80)}, PeriodSeconds: 1, TimeoutSeconds: 5,
	}
	return c
}

// start creates a Pod and waits until it is Ready.
func (c cloud) start(namespace, name string, containers ...cci.Container) *cci.Pod {
	c.t.Helper()
	return c.startPod(namespace, &cci.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: cci.PodSpec{Containers: containers},
	})
}

func (c cloud) startPod(namespace string, pod *cci.Pod) *cci.Pod {
	c.t.Helper()
	c.create(namespace, pod)
	return c.await(namespace, pod.Name, "is Ready", func(pod *cci.Pod) bool {
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady {
				return condition.Status == corev1.ConditionTrue
			}
		}
		return false
	})
}

func (c cloud) create(namespace string, pod *cci.Pod) {
	c.t.Helper()
	if pod.Spec.DNSPolicy == "" {
		pod.Spec.DNSPolicy = corev1.DNSDefault
	}
	if pod.Spec.RestartPolicy == "" {
		pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
	}
	_, err := c.Client.CreatePod(c.t.Context(), namespace, pod)
	require.NoError(c.t, err)
}

// await waits for a state of a Pod.
func (c cloud) await(namespace, name, what string, is func(*cci.Pod) bool) *cci.Pod {
	c.t.Helper()
	var found *cci.Pod
	reached := func() bool {
		pod, err := c.Client.GetPod(c.t.Context(), namespace, name)
		found = pod
		return err == nil && is(pod)
	}
	if !assert.Eventually(c.t, reached, time.Minute, cloudtest.Tick, "%s %s", name, what) {
		text, err := json.MarshalIndent(found, "", " ")
		require.NoError(c.t, err)
		c.t.Fatal(string(text))
	}
	return found
}

// run runs a command in the first container of a Pod, and returns its output.
func (c cloud) run(namespace, pod string, command ...string) (string, error) {
	c.t.Helper()
	var out, errs bytes.Buffer
	err := c.Client.PodExec(c.t.Context(), namespace, pod, cci.ExecOptions{Container: "main", Command: command},
		cci.ExecStreams{Stdout: &out, Stderr: &errs})
	if err != nil {
		err = fmt.Errorf("%w: %s%s", err, &out, &errs)
	}
	return out.String(), err
}

// must runs a command that has to succeed, and returns its output without the last line end.
func (c cloud) must(namespace, pod string, command ...string) string {
	c.t.Helper()
	out, err := c.run(namespace, pod, command...)
	require.NoError(c.t, err)
	return strings.TrimSuffix(out, "\n")
}

// ask runs a client, and decodes what it prints.
func ask[T any](c cloud, namespace, pod string, args ...string) (found T) {
	c.t.Helper()
	out := c.must(namespace, pod, append([]string{"/" + program}, args...)...)
	require.NoError(c.t, json.Unmarshal([]byte(out), &found), out)
	return found
}

// program is the name of this program.
var program = filepath.Base(os.Args[0])

const other = "other-namespace"

// createOther creates another cloud namespace, whose network is in the other subnet.
func (c cloud) createOther() {
	c.t.Helper()
	_, err := c.Client.CreateNamespace(c.t.Context(), &cci.Namespace{ObjectMeta: metav1.ObjectMeta{Name: other}})
	require.NoError(c.t, err)
	network := cloudtest.Network("net")
	network.Spec.Subnets = []cci.Subnet{{SubnetID: "other"}}
	_, err = c.Client.CreateNetwork(c.t.Context(), other, network)
	require.NoError(c.t, err)
	require.Eventually(c.t, func() bool {
		network, err := c.Client.GetNetwork(c.t.Context(), other, "net")
		return err == nil && network.Status.Status == cci.NetworkReady
	}, cloudtest.Timeout, cloudtest.Tick)
}

func hostOf(t testing.TB, address string) string {
	t.Helper()
	host, _, err := net.SplitHostPort(address)
	require.NoError(t, err)
	return host
}

func TestPodsOfTwoSubnetsReachEachOther(t *testing.T) {
	c := newCloud(t)
	c.createOther()
	first := c.start(cloudtest.Namespace, "first", server())
	second := c.start(other, "second", server())
	assert.Equal(t, "10.246.1.2", first.Status.PodIP)
	assert.Equal(t, "10.246.2.2", second.Status.PodIP)

	answer := ask[peer.Answer](c, cloudtest.Namespace, "first", "get", "http://10.246.2.2")
	assert.Equal(t, "second", answer.Host)
	assert.Equal(t, "10.246.1.2", hostOf(t, answer.From))
	answer = ask[peer.Answer](c, other, "second", "udp", "10.246.1.2:7")
	assert.Equal(t, "first", answer.Host)
	assert.Equal(t, "10.246.2.2", hostOf(t, answer.From))
	assert.Equal(t, "all of it", ask[string](c, other, "second", "half", "10.246.1.2:7"))
	assert.Equal(t, "10.246.1.2", hostOf(t, ask[string](c, cloudtest.Namespace, "first", "hold", "10.246.1.2:7")),
		"a Pod reaches itself")
}

func TestPodsAndThisMachineReachEachOther(t *testing.T) {
	listener, err := net.Listen("tcp", net.JoinHostPort(machine.ControlAddress, "0"))
	require.NoError(t, err)
	from := make(chan string, 10)
	serving := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from <- r.RemoteAddr
		_ = json.NewEncoder(w).Encode(peer.Answer{Host: "node"})
	})}
	go func() { _ = serving.Serve(listener) }()
	t.Cleanup(func() { _ = serving.Close() })

	c := newCloud(t)
	pod := c.start(cloudtest.Namespace, "web", server())
	get := func() (string, error) {
		return c.run(cloudtest.Namespace, "web", "/"+program, "get", "http://"+listener.Addr().String())
	}
	_, err = get()
	assert.ErrorContains(t, err, "deadline exceeded", "the VPC has no route to this machine")
	require.NoError(t, c.SetRoutes([]string{machineNet}))
	_, err = get()
	require.NoError(t, err)
	assert.Equal(t, pod.Status.PodIP, hostOf(t, <-from), "the address is not translated")
	response, err := http.Get("http://" + pod.Status.PodIP)
	require.NoError(t, err)
	defer response.Body.Close()
	var answer peer.Answer
	require.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
	assert.Equal(t, "web", answer.Host)
	require.NoError(t, c.SetRoutes(nil))
	_, err = get()
	assert.ErrorContains(t, err, "deadline exceeded")
	assert.ErrorContains(t, c.SetRoutes([]string{"0.0.0.0/0"}), "routes[0]")
}

func TestContainersSeeTheFilesOfTheirPod(t *testing.T) {
	c := newCloud(t)
	data := func(kind cci.DataKind, name string, text map[string]string) *cci.Data {
		d := &cci.Data{Kind: kind, ObjectMeta: metav1.ObjectMeta{Name: name}}
		if kind == cci.ConfigMap {
			d.Text = text
			return d
		}
		d.Binary = map[string][]byte{}
		for key, value := range text {
			d.Binary[key] = []byte(value)
		}
		return d
	}
	for _, d := range []*cci.Data{
		data(cci.Secret, "secret", map[string]string{"token": "first"}),
		data(cci.ConfigMap, "settings", map[string]string{"a.conf": "A", "b.conf": "B"}),
	} {
		_, err := c.Client.CreateData(t.Context(), cloudtest.Namespace, d)
		require.NoError(t, err)
	}
	reference := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	mounts := []cci.VolumeMount{
		{Name: "secret", MountPath: "/var/run/secrets/spillway.io/services"}, {Name: "settings", MountPath: "/srv/settings"},
		{Name: "settings", MountPath: "/srv/one.conf", SubPath: "conf.d/b"}, {Name: "all", MountPath: "/srv/all"},
		{Name: "scratch", MountPath: "/srv/scratch"},
	}
	writer, reader := shell("echo shared > /srv/scratch/file; sleep 3600"), shell("sleep 3600")
	writer.Name = "writer"
	writer.VolumeMounts, reader.VolumeMounts = mounts, mounts
	c.startPod(cloudtest.Namespace, &cci.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{"team": "shop"}},
		Spec: cci.PodSpec{
			Containers: []cci.Container{reader, writer}, Hostname: "cart", DNSPolicy: corev1.DNSNone,
			DNSConfig: &corev1.PodDNSConfig{
				Nameservers: []string{"10.96.0.10", "10.96.0.11"},
				Searches:    []string{"shop.svc.cluster.local", "svc.cluster.local"},
				Options:     []corev1.PodDNSConfigOption{{Name: "ndots", Value: new("5")}, {Name: "rotate"}},
			},
			HostAliases:     []corev1.HostAlias{{IP: "10.1.2.3", Hostnames: []string{"old", "older"}}},
			SecurityContext: &cci.PodSecurityContext{FSGroup: new(int64(2000))},
			Volumes: []cci.Volume{
				{Name: "secret", Secret: &corev1.SecretVolumeSource{SecretName: "secret", DefaultMode: new(int32(0o400))}},
				{Name: "settings", ConfigMap: &corev1.ConfigMapVolumeSource{
					LocalObjectReference: reference("settings"), Items: []corev1.KeyToPath{{Key: "b.conf", Path: "conf.d/b"}},
				}},
				{Name: "all", Projected: &cci.ProjectedVolume{Sources: []cci.Projection{
					{Secret: &corev1.SecretProjection{LocalObjectReference: reference("secret")}},
					{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: reference("settings")}},
					{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
						Path: "team", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations['team']"},
					}}}},
				}}},
				{Name: "scratch", EmptyDir: &corev1.EmptyDirVolumeSource{}},
			},
		},
	})
	sh := func(script string) string { return c.must(cloudtest.Namespace, "web", "sh", "-c", script) }
	assert.Equal(t, "nameserver 10.96.0.10\nnameserver 10.96.0.11\nsearch shop.svc.cluster.local svc.cluster.local\n"+
		"options ndots:5\noptions rotate", sh("cat /etc/resolv.conf"))
	assert.Equal(t, "cart", sh("hostname"))
	assert.Equal(t, []string{"10.246.1.2"}, ask[[]string](c, cloudtest.Namespace, "web", "lookup", "cart"))
	assert.Equal(t, []string{"10.1.2.3"}, ask[[]string](c, cloudtest.Namespace, "web", "lookup", "older"))
	const secret = "/var/run/secrets/spillway.io/services/token"
	assert.Equal(t, "first", sh("cat "+secret))
	assert.Equal(t, "440 0 2000", sh("stat -c '%a %u %g' "+secret), "the group of the Pod may read it")
	assert.Equal(t, "B B", sh("echo $(cat /srv/settings/conf.d/b) $(cat /srv/one.conf)"))
	assert.Equal(t, "a.conf b.conf team token", sh("echo $(ls /srv/all)"))
	assert.Equal(t, "shop", sh("cat /srv/all/team"))
	require.Eventually(t, func() bool { return sh("cat /srv/scratch/file; true") == "shared" }, cloudtest.Timeout,
		cloudtest.Tick, "containers share a volume")
	_, err := c.run(cloudtest.Namespace, "web", "sh", "-c", "echo x > /srv/all/token")
	assert.ErrorContains(t, err, "Read-only file system")

	old, err := c.Client.GetData(t.Context(), cloudtest.Namespace, cci.Secret, "secret")
	require.NoError(t, err)
	old.Binary["token"] = []byte("second")
	_, err = c.Client.UpdateData(t.Context(), cloudtest.Namespace, old)
	require.NoError(t, err)
	assert.Equal(t, "second second", sh("echo $(cat "+secret+") $(cat /srv/all/token)"))

	assert.Contains(t, sh("tr '\\0' ' ' < /proc/1/cmdline"), "sleep 3600", "the container is a PID namespace")
	_, err = os.Stat("/etc/shadow")
	require.NoError(t, err)
	_, err = c.run(cloudtest.Namespace, "web", "cat", "/etc/shadow")
	assert.ErrorContains(t, err, "No such file", "files of the machine are not there")
}

func TestRightsOfContainers(t *testing.T) {
	root, user := new(int64(0)), new(int64(1234))
	add := func(names ...corev1.Capability) *corev1.Capabilities { return &corev1.Capabilities{Add: names} }
	only := func(names ...corev1.Capability) *corev1.Capabilities {
		return &corev1.Capabilities{Add: names, Drop: []corev1.Capability{"ALL"}}
	}
	const bindService = 1 << 10
	const defaults = 0xa80425fb // Of a container without a securityContext. Source: `capsh --print` in one of containerd.
	c := newCloud(t)
	for name, tc := range map[string]struct {
		context *cci.SecurityContext
		// user, group and the two sets of capabilities.
		user, group         string
		effective, bounding uint64
		mayListen, mayLink  bool
		mayWrite            bool
	}{
		"none": {nil, "0", "0", defaults, defaults, true, false, true},
		"a user": {
			&cci.SecurityContext{RunAsUser: user}, "1234", "0", 0, defaults, false, false, false,
		},
		"a group": {
			&cci.SecurityContext{RunAsUser: user, RunAsGroup: user}, "1234", "1234", 0, defaults, false, false, false,
		},
		"root with one capability": {
			&cci.SecurityContext{RunAsUser: root, Capabilities: only("NET_BIND_SERVICE"), ReadOnlyRootFilesystem: new(true)},
			"0", "0", bindService, bindService, true, false, false,
		},
		"root without capabilities": {
			&cci.SecurityContext{Capabilities: only()}, "0", "0", 0, 0, false, false, true,
		},
		"root that changes the network": {
			&cci.SecurityContext{Capabilities: add("NET_ADMIN")}, "0", "0", defaults | 1<<12, defaults | 1<<12, true, true, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := cloud{t, c.Cloud}
			pod := strings.ReplaceAll(name, " ", "-")
			main := shell("sleep 3600")
			main.SecurityContext = tc.context
			c.start(cloudtest.Namespace, pod, main)
			sh := func(script string) (string, error) { return c.run(cloudtest.Namespace, pod, "sh", "-c", script) }
			// The first process and that of exec have the same rights.
			for _, status := range []string{"/proc/1/status", "/proc/self/status"} {
				text := c.must(cloudtest.Namespace, pod, "cat", status)
				assert.Equal(t, tc.user, statusField(text, "Uid"), status)
				assert.Equal(t, tc.group, statusField(text, "Gid"), status)
				for field, want := range map[string]uint64{
					"CapEff": tc.effective, "CapBnd": tc.bounding, "CapInh": 0, "CapAmb": 0,
				} {
					got, err := strconv.ParseUint(statusField(text, field), 16, 64)
					require.NoError(t, err)
					assert.Equal(t, fmt.Sprintf("%x", want), fmt.Sprintf("%x", got), "%s in %s", field, status)
				}
			}
			_, err := sh("touch /file && rm /file")
			assert.Equal(t, tc.mayWrite, err == nil, "%v", err)
			_, err = sh("touch /tmp/file")
			assert.Equal(t, tc.context == nil || tc.context.ReadOnlyRootFilesystem == nil, err == nil, "%v", err)
			_, err = sh("ip link add name br0 type bridge && ip link del br0")
			assert.Equal(t, tc.mayLink, err == nil, "%v", err)
			_, err = sh("timeout 1 /" + program + " serve --http :80; code=$?; [ $code = 0 ] || [ $code = 124 ]")
			assert.Equal(t, tc.mayListen, err == nil, "%v", err)
			_, err = sh("echo 0 > /proc/sys/net/ipv4/ip_forward")
			assert.Error(t, err, "settings of the kernel are read-only")
		})
	}
	require.NoError(t, c.SetPolicies(ccisim.Policies{RefuseNetAdmin: true}))
	main := shell("sleep 3600")
	main.SecurityContext = &cci.SecurityContext{Capabilities: add("NET_ADMIN")}
	_, err := c.Client.CreatePod(t.Context(), cloudtest.Namespace, &cci.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "refused"},
		Spec: cci.PodSpec{
			Containers: []cci.Container{main}, DNSPolicy: corev1.DNSDefault, RestartPolicy: corev1.RestartPolicyAlways,
		},
	})
	assert.ErrorContains(t, err, "capability NET_ADMIN is not supported")
}

// statusField returns the first value of a line of /proc/PID/status.
func statusField(status, name string) string {
	_, rest, _ := strings.Cut(status, name+":")
	return strings.Fields(rest)[0]
}

func TestContainersWaitForTheStartupProbeOfASidecar(t *testing.T) {
	c := newCloud(t)
	scratch := []cci.VolumeMount{{Name: "scratch", MountPath: "/scratch"}}
	side, main := shell("sleep 3600"), server()
	side.Name, side.RestartPolicy = "side", new(corev1.ContainerRestartPolicyAlways)
	side.StartupProbe = &cci.Probe{
		Exec: &corev1.ExecAction{Command: []string{"test", "-e", "/scratch/go"}}, PeriodSeconds: 1, FailureThreshold: 600,
		TimeoutSeconds: 5,
	}
	side.Args = []string{}
	side.VolumeMounts, main.VolumeMounts = scratch, scratch
	c.create(cloudtest.Namespace, &cci.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: cci.PodSpec{
		InitContainers: []cci.Container{side}, Containers: []cci.Container{main},
		Volumes: []cci.Volume{{Name: "scratch", EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}})
	pod := c.await(cloudtest.Namespace, "web", "has a sidecar", func(pod *cci.Pod) bool {
		return len(pod.Status.InitContainerStatuses) == 1 && pod.Status.InitContainerStatuses[0].State.Running != nil
	})
	assert.False(t, *pod.Status.InitContainerStatuses[0].Started)
	assert.NotNil(t, pod.Status.ContainerStatuses[0].State.Waiting)
	var out bytes.Buffer
	require.NoError(t, c.Client.PodExec(t.Context(), cloudtest.Namespace, "web", cci.ExecOptions{
		Container: "side", Command: []string{"touch", "/scratch/go"},
	}, cci.ExecStreams{Stdout: &out}))
	c.await(cloudtest.Namespace, "web", "is ready", func(pod *cci.Pod) bool {
		return pod.Status.ContainerStatuses[0].Ready && pod.Status.InitContainerStatuses[0].Ready
	})
}

func TestALivenessProbeRestartsAContainer(t *testing.T) {
	c := newCloud(t)
	main := shell("sleep 3600")
	main.LivenessProbe = &cci.Probe{
		TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("none")}, PeriodSeconds: 1, FailureThreshold: 1,
	}
	main.Ports = []cci.ContainerPort{{Name: "none", ContainerPort: 9}}
	c.create(cloudtest.Namespace, &cci.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: cci.PodSpec{
		Containers: []cci.Container{main}, TerminationGracePeriodSeconds: new(int64(1)),
	}})
	c.await(cloudtest.Namespace, "web", "has restarted", func(pod *cci.Pod) bool {
		return len(pod.Status.ContainerStatuses) == 1 && pod.Status.ContainerStatuses[0].RestartCount > 0
	})
}

func TestErrorsOfContainersAreShown(t *testing.T) {
	c := newCloud(t)
	for name, tc := range map[string]struct {
		change func(*cci.Container)
		want   string
	}{
		"no program": {
			func(c *cci.Container) { c.Command = []string{"/missing"} }, `exec: "/missing": executable file not found`,
		},
		"no directory": {
			func(c *cci.Container) { c.WorkingDir = "/missing" }, "changing to the working directory",
		},
		"no capability": {
			func(c *cci.Container) {
				c.SecurityContext = &cci.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"FLY"}}}
			},
			`unknown capability to add "CAP_FLY"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := cloud{t, c.Cloud}
			pod, main := strings.ReplaceAll(name, " ", "-"), shell("sleep 3600")
			tc.change(&main)
			c.create(cloudtest.Namespace, &cci.Pod{ObjectMeta: metav1.ObjectMeta{Name: pod}, Spec: cci.PodSpec{
				Containers: []cci.Container{main}, RestartPolicy: corev1.RestartPolicyNever,
			}})
			failed := c.await(cloudtest.Namespace, pod, "has failed", func(pod *cci.Pod) bool {
				return pod.Status.Phase == corev1.PodFailed
			})
			ended := failed.Status.ContainerStatuses[0].State.Terminated
			assert.EqualValues(t, 128, ended.ExitCode)
			assert.Contains(t, ended.Message, tc.want)
		})
	}
	c.start(cloudtest.Namespace, "web", shell("sleep 3600"))
	_, err := c.run(cloudtest.Namespace, "web", "missing")
	assert.ErrorContains(t, err, `exec: "missing": executable file not found`)
	_, err = c.run(cloudtest.Namespace, "web", "sh", "-c", "kill -9 $$")
	assert.ErrorContains(t, err, "137")
}

// runCloud runs a simulated cloud until ctx ends, and prints its address.
func runCloud(ctx context.Context) error {
	config := ccisim.Config{
		Credentials: []ccisim.Credential{cloudtest.Account}, Processes: true, Networks: true, SubnetCIDR: "10.246.1.0/24",
		StateFile: os.Args[1], NetworkDelay: time.Millisecond, RestartBackoff: time.Millisecond,
	}
	sim, err := ccisim.New(config)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	serving := &http.Server{Handler: sim.Handler()}
	go func() { _ = serving.Serve(listener) }()
	fmt.Println(listener.Addr())
	if err := sim.Run(ctx); err != nil {
		return err
	}
	return sim.Close()
}

// startCloud runs a simulated cloud as a process of its own.
func startCloud(t *testing.T, stateFile string) (c cloud, process *exec.Cmd) {
	t.Helper()
	process = exec.Command(os.Args[0], stateFile)
	process.Env = append(os.Environ(), asProgram+"=cloud")
	process.Stderr = t.Output()
	out, err := process.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, process.Start())
	t.Cleanup(func() { _ = process.Process.Kill() })
	address := make([]byte, 100)
	n, err := out.Read(address)
	require.NoError(t, err)
	go func() { _, _ = io.Copy(io.Discard, out) }()
	of := &cloudtest.Cloud{URL: "http://" + strings.TrimSpace(string(address[:n]))}
	of.Client = cloudtest.NewClient(t, of.Config())
	return cloud{t, of}, process
}

// leftovers returns the processes of a script with a mark, the links and the routes of clouds.
func leftovers(t *testing.T, mark string) []string {
	t.Helper()
	var found []string
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range files {
		if line, _ := os.ReadFile(file); bytes.Contains(line, []byte(mark)) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	for _, command := range []string{"link", "route"} {
		out, err := exec.Command("ip", "-oneline", command).Output()
		require.NoError(t, err)
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "ccisim-") {
				found = append(found, line)
			}
		}
	}
	return found
}

func TestNothingOutlivesTheSimulator(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"SIGTERM": syscall.SIGTERM, "SIGKILL": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			state, mark := filepath.Join(t.TempDir(), "state.json"), "3600."+strconv.Itoa(os.Getpid())
			c, process := startCloud(t, state)
			c.CreateCloudNamespace(t)
			image := func(c cci.Container) cci.Container { c.Image = ccisim.ProcessImage + ":1"; return c }
			main := image(shell("setsid sleep " + mark + " & sleep " + mark))
			pod := c.start(cloudtest.Namespace, "web", main)
			require.Eventually(t, func() bool { return len(leftovers(t, mark)) == 5 }, cloudtest.Timeout, cloudtest.Tick,
				"a shell, two other processes, a link and a route")
			require.NoError(t, process.Process.Signal(signal))
			_ = process.Wait()
			if !assert.Eventually(t, func() bool { return len(leftovers(t, mark)) == 0 }, cloudtest.Timeout, cloudtest.Tick) {
				t.Log(leftovers(t, mark))
			}

			c, process = startCloud(t, state)
			again := c.await(cloudtest.Namespace, "web", "runs again", func(pod *cci.Pod) bool {
				return pod.Status.ContainerStatuses[0].RestartCount == 1 && pod.Status.ContainerStatuses[0].State.Running != nil
			})
			assert.Equal(t, pod.Status.PodIP, again.Status.PodIP)
			assert.Contains(t, c.must(cloudtest.Namespace, "web", "ip", "-oneline", "addr", "show", "eth0"), pod.Status.PodIP)
			require.NoError(t, process.Process.Kill())
			_ = process.Wait()
		})
	}
}

func TestConfigurationOfNetworks(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*ccisim.Config)
		want   string
	}{
		"no processes": {func(c *ccisim.Config) { c.Processes = false }, "networks: Invalid value: true: must be off"},
		"exporters": {
			func(c *ccisim.Config) { c.Exporters, c.SubnetCIDR = true, "127.1.0.0/16" }, "if exporters is on",
		},
		"no network":   {func(c *ccisim.Config) { c.Routes = []string{"10.96.0.0"} }, "routes[0]"},
		"all networks": {func(c *ccisim.Config) { c.Routes = []string{"0.0.0.0/0"} }, "routes[0]"},
		"no program":   {func(c *ccisim.Config) { c.Images = map[string]string{"a": "/none"} }, "images[a]"},
		"routes alone": {
			func(c *ccisim.Config) { c.Networks, c.Images, c.Routes = false, nil, []string{"10.0.0.0/8"} }, "routes",
		},
		"images alone": {func(c *ccisim.Config) { c.Networks = false }, "images"},
	} {
		t.Run(name, func(t *testing.T) {
			config := ccisim.Config{Credentials: []ccisim.Credential{cloudtest.Account}}
			withNetworks(t)(&config)
			require.NoError(t, config.Validate())
			tc.change(&config)
			assert.ErrorContains(t, config.Validate(), tc.want)
		})
	}
}
