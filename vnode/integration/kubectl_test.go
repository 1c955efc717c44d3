package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/test/system"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

// kubectl returns a command of the real kubectl, run as the administrator.
func kubectl(ctx context.Context, t testing.TB, namespace string, args ...string) *exec.Cmd {
	t.Helper()
	bin, err := system.FindBinDir()
	require.NoError(t, err)
	return exec.CommandContext(ctx, filepath.Join(bin, "kubectl"),
		append([]string{"--kubeconfig", trial.Kubeconfig(), "--namespace", namespace}, args...)...)
}

// answer is the output of a kubectl, and its exit code.
type answer struct {
	out, errs string
	code      int
}

func ask(t testing.TB, namespace, stdin string, args ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), programtest.Timeout)
	defer cancel()
	command := kubectl(ctx, t, namespace, args...)
	var out, errs bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &out, &errs
	err := command.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); !ok {
		require.NoError(t, err)
	}
	return answer{out.String(), errs.String(), command.ProcessState.ExitCode()}
}

// shellPod is a Pod whose container is a real process.
func shellPod(node string, command ...string) *corev1.Pod {
	pod := podOn(node, "web")
	pod.Spec.Containers[0].Image, pod.Spec.Containers[0].Command = ccisim.ProcessImage, command
	return pod
}

// startShell starts a virtual node with a running Pod "web" whose container is a real process.
func startShell(t *testing.T, changes ...func(*ccisim.Config)) (cloud *cloudtest.Cloud, namespaceName string) {
	t.Helper()
	cloud = cloudtest.New(t, append(changes, cloudtest.EveryAPI, func(c *ccisim.Config) { c.Processes = true })...)
	v, ns := startOn(t, cloud, func(c *Config) { c.CCI.Exec.KeepAlive.Duration = time.Second })
	create(t, ns, shellPod(v.name(), "sleep", "3600"))
	await(t, ns, "web", isReady)
	return cloud, ns
}

func TestKubectlRunsCommands(t *testing.T) {
	t.Parallel()
	_, ns := startShell(t)
	cases := map[string]struct {
		stdin string
		args  []string
		want  answer
	}{
		"a command that prints": {"", []string{"web", "--", "echo", "hello"}, answer{"hello\n", "", 0}},
		"an exit code other than 0": {"", []string{"web", "--", "sh", "-c", "echo out; echo err >&2; exit 3"},
			answer{"out\n", "err\ncommand terminated with exit code 3\n", 3}},
		"arguments are passed unchanged": {"", []string{"web", "-c", "c", "--", "printf", "%s|", "a b", `"q" 'r'`,
			"$HOME", "*", ""}, answer{`a b|"q" 'r'|$HOME|*||`, "", 0}},
		"input comes from a pipe": {"one\ntwo\n",
			[]string{"web", "-i", "--", "sh", "-c", "read a; read b; echo $b $a"}, answer{"two one\n", "", 0}},
		"a megabyte of input and output": {strings.Repeat("x", 1<<20),
			[]string{"web", "-i", "--", "head", "-c", "1048576"}, answer{strings.Repeat("x", 1<<20), "", 0}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, ask(t, ns, tc.stdin, append([]string{"exec"}, tc.args...)...))
		})
	}
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"a missing program": {[]string{"exec", "web", "--", "no-such-program"},
			[]string{"no-such-program", "executable file not found"}},
		"a missing container":            {[]string{"exec", "web", "-c", "d", "--", "true"}, []string{"d"}},
		"attach, which is not supported": {[]string{"attach", "web"}, []string{"the cloud cannot attach", "kubectl logs -f"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := ask(t, ns, "", tc.args...)
			assert.Equal(t, 1, got.code)
			for _, want := range tc.want {
				assert.Contains(t, got.errs, want)
			}
			t.Log(got.errs)
		})
	}
}

func TestKubectlHasATerminal(t *testing.T) {
	t.Parallel()
	_, ns := startShell(t)
	ctx, cancel := context.WithTimeout(t.Context(), programtest.Timeout)
	defer cancel()
	command := kubectl(ctx, t, ns, "exec", "-it", "web", "--", "sh")
	terminal, err := pty.StartWithSize(command, &pty.Winsize{Rows: 45, Cols: 123})
	require.NoError(t, err)
	defer terminal.Close()
	var seen strings.Builder
	until := func(text string) {
		buffer := make([]byte, 1024)
		for !strings.Contains(seen.String(), text) {
			n, err := terminal.Read(buffer)
			seen.Write(buffer[:n])
			require.NoError(t, err, seen.String())
		}
	}
	enter := func(text string) {
		_, err := terminal.WriteString(text)
		require.NoError(t, err)
	}
	enter("until stty size | grep '45 123'; do sleep 0.01; done; echo si''zed\n")
	until("sized")
	require.NoError(t, pty.Setsize(terminal, &pty.Winsize{Rows: 24, Cols: 80}))
	enter("until stty size | grep '24 80'; do sleep 0.01; done; echo resi''zed\n")
	until("resized")
	enter("exit 7\n")
	_ = command.Wait()
	assert.Equal(t, 7, command.ProcessState.ExitCode(), seen.String())
}

func TestASilentCommandOutlivesTheIdleTimeoutOfTheCloud(t *testing.T) {
	t.Parallel()
	_, ns := startShell(t, func(c *ccisim.Config) { c.ExecIdle = 2500 * time.Millisecond })
	assert.Equal(t, answer{"still here\n", "", 0},
		ask(t, ns, "", "exec", "web", "--", "sh", "-c", "sleep 6; echo still here"))
}

func TestACommandEndsWithKubectl(t *testing.T) {
	t.Parallel()
	_, ns := startShell(t)
	command := kubectl(t.Context(), t, ns, "exec", "web", "--", "sh", "-c", "echo $$ > pid; echo started; sleep 3600")
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	_, err = out.Read(make([]byte, 64))
	require.NoError(t, err)
	require.NoError(t, command.Process.Signal(syscall.SIGTERM))
	_ = command.Wait()
	eventually(t, func() error {
		if got := ask(t, ns, "", "exec", "web", "--", "sh", "-c", "kill -0 $(cat pid)"); got.code == 0 {
			return errors.New("the command still runs without a client")
		}
		return nil
	})
}

// onLoopback gives Pods addresses of this machine, so that their processes are reachable.
func onLoopback(c *ccisim.Config) { c.SubnetCIDR = "127.77.0.0/16" }

// forwarded starts kubectl port-forward and returns the local address.
func forwarded(t *testing.T, namespace, port string) (address string, errs *programtest.Log) {
	t.Helper()
	command := kubectl(t.Context(), t, namespace, "port-forward", "pod/web", ":"+port)
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	errs = &programtest.Log{}
	command.Stderr = errs
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err, errs)
	_, rest, found := strings.Cut(line, "Forwarding from ")
	require.True(t, found, line)
	address, _, _ = strings.Cut(rest, " ")
	return address, errs
}

func TestKubectlForwardsPorts(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t, cloudtest.EveryAPI, onLoopback, func(c *ccisim.Config) { c.Processes = true })
	v, ns := startOn(t, cloud)
	pod := create(t, ns, shellPod(v.name(), "sleep", "3600"))
	running := await(t, ns, "web", isReady)
	// A process of the Pod that listens only on its address.
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		fmt.Fprintf(w, "%s got %d bytes", pod.Name, len(body))
	})}
	listener, err := net.Listen("tcp", net.JoinHostPort(running.Status.PodIP, "0"))
	require.NoError(t, err)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { assert.NoError(t, server.Close()) })
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)

	address, _ := forwarded(t, ns, port)
	for range 3 {
		response, err := http.Post("http://"+address, "text/plain", strings.NewReader(strings.Repeat("x", 1<<20)))
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, "web got 1048576 bytes", string(body))
	}

	closed, errs := forwarded(t, ns, "1")
	eventually(t, func() error {
		// An error that arrives before kubectl opens its streams is reported as "Stream reset": a race in kubectl.
		if _, err := http.Get("http://" + closed); err == nil {
			return errors.New("the connection should fail")
		}
		if text := errs.String(); !strings.Contains(text, "connecting to the cloud Pod at "+running.Status.PodIP) {
			return fmt.Errorf("kubectl should say why: %s", text)
		}
		return nil
	})
}

func TestPortsAreNotForwardedIfThatIsDisabled(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t, cloudtest.EveryAPI)
	node := nodeName(t)
	config := settings(t, cloud, node)
	config.PortForward = false
	start(t, config)
	ns := namespace(t)
	create(t, ns, podOn(node, "web"))
	await(t, ns, "web", isReady)
	got := ask(t, ns, "", "port-forward", "pod/web", ":80")
	assert.NotZero(t, got.code)
	assert.Contains(t, got.errs, "does not forward ports")
}

func TestTheUsageOfPodsIsReported(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t, cloudtest.EveryAPI, onLoopback, func(c *ccisim.Config) {
		c.Exporters, c.Processes = true, true
	})
	node := nodeName(t)
	config := settings(t, cloud, node)
	r := start(t, config)
	ns := namespace(t)
	busy := shellPod(node, "sh", "-c", "while :; do :; done")
	quiet := podOn(node, "quiet")
	quiet.Annotations = map[string]string{"ccisim.spillway.io/cpu-cores": "0.5",
		"ccisim.spillway.io/memory-bytes": "1048576", "monitoring.cci.io/metrics-port": "19200"}
	without := podOn(node, "without")
	without.Annotations = map[string]string{"monitoring.cci.io/enable-pod-metrics": "false"}
	for _, pod := range []*corev1.Pod{busy, quiet, without} {
		create(t, ns, pod)
		await(t, ns, pod.Name, isReady)
	}
	// As metrics-server reads it: from the kubelet port, with its own permissions.
	meter := token(t, ns, "meter", rbacv1.PolicyRule{APIGroups: []string{""},
		Resources: []string{"nodes/metrics", "nodes/stats"}, Verbs: []string{"get"}})
	read := func(path string) string {
		status, body := callKubelet(t, config, http.MethodGet, path, meter)
		require.Equal(t, http.StatusOK, status, body)
		return body
	}
	text := read("/metrics/resource")
	assert.Regexp(t, `container_cpu_usage_seconds_total\{container="c",namespace="`+ns+`",pod="web"\} \S+ \d{13}\n`, text)
	assert.Contains(t, text,
		`container_memory_working_set_bytes{container="c",namespace="`+ns+`",pod="quiet"} 1.048576e+06 `)
	assert.Contains(t, text, `container_start_time_seconds{container="c",namespace="`+ns+`",pod="quiet"}`)
	assert.NotContains(t, text, "without", "a Pod without an exporter is left out")
	assert.Equal(t, 2.0, r.metric(t, "spillway_vnode_exporter_requests_total", "answered"))

	var summary struct {
		Node struct{ NodeName string }
		Pods []struct{ PodRef struct{ Name string } }
	}
	require.NoError(t, json.Unmarshal([]byte(read("/stats/summary")), &summary))
	assert.Equal(t, node, summary.Node.NodeName)
	assert.Len(t, summary.Pods, 2)
}

func TestKubectlReadsTheLogsOfAProcess(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t, cloudtest.EveryAPI, func(c *ccisim.Config) {
		c.Processes, c.RestartBackoff = true, time.Millisecond
	})
	v, ns := startOn(t, cloud)
	pod := shellPod(v.name(), "sh", "-c", "echo run; while [ ! -e stop ]; do sleep 0.05; done; rm stop; echo end; exit 1")
	pod.Spec.InitContainers = []corev1.Container{{Name: "init", Image: ccisim.ProcessImage,
		Command: []string{"echo", "made ready"}}}
	create(t, ns, pod)
	await(t, ns, "web", isReady)
	assert.Equal(t, answer{"made ready\n", "", 0}, ask(t, ns, "", "logs", "web", "-c", "init"))
	all := ask(t, ns, "", "logs", "web", "--all-containers", "--prefix") // kubectl asks about them in any order.
	assert.ElementsMatch(t, []string{"[pod/web/init] made ready\n", "[pod/web/c] run\n"},
		slices.Collect(strings.Lines(all.out)))
	assert.Equal(t, answer{all.out, "", 0}, all)
	assert.Equal(t, answer{"", "", 0}, ask(t, ns, "", "logs", "web", "-c", "c", "--tail=0"))
	assert.Equal(t, answer{"run\n", "", 0},
		ask(t, ns, "", "logs", "web", "-c", "c", "--since-time="+time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)))
	assert.Equal(t, "ru", ask(t, ns, "", "logs", "web", "-c", "c", "--limit-bytes=2").out)
	before := ask(t, ns, "", "logs", "web", "-c", "c", "--previous")
	assert.Equal(t, 1, before.code)
	assert.Contains(t, before.errs, `previous terminated container "c"`)

	// A client that follows receives the end, and its stream is closed.
	follow := kubectl(t.Context(), t, ns, "logs", "web", "-c", "c", "-f")
	out, err := follow.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, follow.Start())
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Zero(t, ask(t, ns, "", "exec", "web", "-c", "c", "--", "touch", "stop").code)
	rest, err := io.ReadAll(lines)
	require.NoError(t, err)
	require.NoError(t, follow.Wait())
	assert.Equal(t, "run\nend\n", first+string(rest))
	await(t, ns, "web", func(pod *corev1.Pod) error {
		if status := pod.Status.ContainerStatuses[0]; status.RestartCount == 0 || status.State.Running == nil {
			return errors.New("it should run again")
		}
		return nil
	})
	assert.Equal(t, answer{"run\nend\n", "", 0}, ask(t, ns, "", "logs", "web", "-c", "c", "--previous"))
}

func TestAProcessInTheCloudSeesTheClustersSecrets(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t, cloudtest.EveryAPI, func(c *ccisim.Config) { c.Processes = true })
	v, ns := startOn(t, cloud)
	require.Zero(t, ask(t, ns, "", "create", "secret", "generic", "keys", "--from-literal=key=hidden & seek").code)
	require.Zero(t, ask(t, ns, "", "create", "configmap", "settings", "--from-literal=COLOUR=blue").code)
	pod := shellPod(v.name(), "sleep", "3600")
	c := &pod.Spec.Containers[0]
	c.EnvFrom = []corev1.EnvFromSource{
		{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}}
	c.Env = []corev1.EnvVar{
		{Name: "KEY", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "keys"}, Key: "key"}}},
		{Name: "POD", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
	}
	create(t, ns, pod)
	await(t, ns, "web", isReady)
	assert.Equal(t, answer{"blue|hidden & seek|web", "", 0},
		ask(t, ns, "", "exec", "web", "--", "sh", "-c", `printf %s "$COLOUR|$KEY|$POD"`))
}
