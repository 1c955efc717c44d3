package ccisim_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"

	"github.com/spillway-k8s/spillway/test/ccisim"
)

func withProcesses(c *ccisim.Config) { c.Processes = true }

// withCommand sets the command of the container, which is a process.
func withCommand(command ...string) func(pod, spec, container object) {
	return func(_, _, container object) {
		container["image"], container["command"] = ccisim.ProcessImage+":1", command
	}
}

// exec runs a command with the client of Kubernetes, with the given protocols and a token.
func (b *env) exec(token string, stdin string, protocols []string, command ...string) (out, errs string, err error) {
	b.t.Helper()
	query := url.Values{"container": {"web"}, "command": command, "stdout": {"true"}, "stderr": {"true"}}
	if stdin != "" {
		query.Set("stdin", "true")
	}
	config := &rest.Config{Host: b.base, WrapTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			r.Header.Set("X-Auth-Token", token)
			return next.RoundTrip(r)
		})
	}}
	executor, err := remotecommand.NewWebSocketExecutorForProtocols(config, "GET",
		b.base+podsPath+"/web/exec?"+query.Encode(), protocols...)
	require.NoError(b.t, err)
	var stdout, stderr bytes.Buffer
	options := remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr}
	if stdin != "" {
		options.Stdin = strings.NewReader(stdin)
	}
	err = executor.StreamWithContext(b.t.Context(), options)
	return stdout.String(), stderr.String(), err
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

var v4 = []string{"v4.channel.k8s.io"}

func TestExecWithKubernetesClient(t *testing.T) {
	b := newNamespaceEnv(t, withProcesses)
	b.createPod("web", withCommand("sleep", "3600"),
		withContainer("env", []object{{"name": "GREETING", "value": "hello you"}}))
	b.untilPhase("web", "Running")
	out, errs, err := b.exec("token-1", "", v4, "sh", "-c", `echo "$GREETING"; echo err >&2; exit 5`)
	assert.Equal(t, "hello you\n", out)
	assert.Equal(t, "err\n", errs)
	var exited exec.CodeExitError
	require.ErrorAs(t, err, &exited)
	assert.Equal(t, 5, exited.Code)
	out, _, err = b.exec("token-1", "typed\n", v4, "head", "-n", "1")
	require.NoError(t, err)
	assert.Equal(t, "typed\n", out)
	assert.Positive(t, b.sim.CountRequests("exec", "pods/exec", http.StatusSwitchingProtocols))
}

// Kubectl runs commands over SPDY after the service has refused its first protocol, and has its token in Authorization.
func TestExecOverSPDYWithABearerToken(t *testing.T) {
	b := newNamespaceEnv(t, withProcesses)
	b.createPod("web", withCommand("sleep", "3600"))
	b.untilPhase("web", "Running")
	run := func(token string, protocols ...string) (string, error) {
		query := url.Values{
			"container": {"web"}, "command": {"sh", "-c", "cat; exit 7"}, "stdin": {"true"}, "stdout": {"true"},
		}
		target, err := url.Parse(b.base + podsPath + "/web/exec?" + query.Encode())
		require.NoError(t, err)
		transport, upgrader, err := spdy.RoundTripperFor(&rest.Config{Host: b.base, BearerToken: token})
		require.NoError(t, err)
		executor, err := remotecommand.NewSPDYExecutorForProtocols(transport, upgrader, "POST", target, protocols...)
		require.NoError(t, err)
		var out bytes.Buffer
		err = executor.StreamWithContext(t.Context(),
			remotecommand.StreamOptions{Stdin: strings.NewReader("typed\n"), Stdout: &out})
		return out.String(), err
	}
	out, err := run("token-1", "v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io")
	assert.Equal(t, "typed\n", out)
	var exited exec.CodeExitError
	require.ErrorAs(t, err, &exited)
	assert.Equal(t, 7, exited.Code)
	_, err = run("made up", "v4.channel.k8s.io")
	require.Error(t, err)
	_, err = run("token-1", "v3.channel.k8s.io")
	require.Error(t, err)
	assert.Positive(t, b.sim.CountRequests("exec", "pods/exec", http.StatusForbidden))
}

// What a container runs as: the user of its securityContext, unless the policy says that this has no effect. Only a
// simulator that runs as root can choose.
func TestUserOfAProcess(t *testing.T) {
	b := newNamespaceEnv(t, withProcesses)
	b.createPod("web", withCommand("sleep", "3600"), withSpec("securityContext", object{"runAsUser": 10001}),
		withContainer("securityContext", object{"runAsGroup": 10002}))
	b.untilPhase("web", "Running")
	user := func() string {
		out, _, err := b.exec("token-1", "", v4, "sh", "-c", `echo "$(id -u):$(id -g)"; touch written-by-$(id -u)`)
		require.NoError(t, err)
		return strings.TrimSpace(out)
	}
	own := fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	with, without := own, own
	if os.Geteuid() == 0 {
		with, without = "10001:10002", "65534:65534"
	}
	assert.Equal(t, with, user())
	require.NoError(t, b.sim.SetPolicies(ccisim.Policies{IgnoreSecurityContext: true}))
	assert.Equal(t, without, user())
	assert.Equal(t, int64(10001), *b.pod("web").Spec.SecurityContext.RunAsUser, "nothing shows that it has no effect")
}

func TestExecErrors(t *testing.T) {
	b := newNamespaceEnv(t, withProcesses)
	b.createPod("web", withCommand("sleep", "3600"))
	b.untilPhase("web", "Running")
	for name, protocols := range map[string][]string{"v5 alone": {"v5.channel.k8s.io"},
		"the first version": {"channel.k8s.io"}} {
		t.Run(name, func(t *testing.T) {
			_, _, err := b.exec("token-1", "", protocols, "true")
			require.Error(t, err)
			assert.Positive(t, b.sim.CountRequests("exec", "pods/exec", http.StatusForbidden))
		})
	}
	_, _, err := b.exec("made up", "", v4, "true")
	require.Error(t, err)
	b.createPod("simulated")
	b.untilPhase("simulated", "Running")
	cases := map[string]struct {
		method, target string
		want           int
		message        string
	}{
		"a signature instead of a token": {"GET", "/web/exec?command=true&stdout=true", 401, "CloudWAF"},
		"attach":                         {"GET", "/web/attach?stdout=true", 404, "could not find"},
		"port-forward":                   {"POST", "/web/portforward", 404, "could not find"},
		"a command with PUT":             {"PUT", "/web/exec?command=true", 405, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a := b.want(tc.want, tc.method, podsPath+tc.target, nil)
			assert.Contains(t, string(a.body), tc.message)
		})
	}
	require.NoError(t, b.sim.SetPolicies(ccisim.Policies{SignedExec: true}))
	b.want(404, "GET", podsPath+"/none/exec?command=true&stdout=true", nil)
	for name, message := range map[string]string{
		"/web/exec?stdout=true":                           "at least 1 command",
		"/web/exec?command=true":                          "at least 1 of stdin, stdout, stderr",
		"/web/exec?command=true&stdout=true":              "Upgrade request required",
		"/web/exec?command=true&stdout=true&container=no": "not valid",
	} {
		assert.Contains(t, string(b.want(400, "GET", podsPath+name, nil).body), message)
	}
}

func TestContainerAsProcess(t *testing.T) {
	b := newNamespaceEnv(t, withProcesses, func(c *ccisim.Config) { c.RestartBackoff = time.Hour })
	logOf := func(query string) string { return string(b.do("GET", podsPath+"/web/log?"+query, nil).body) }
	b.createPod("web",
		withCommand("sh", "-c", `echo "run $(ls | wc -l)"; touch file$$; echo err >&2; printf unfinished; exit 4`))
	pod := b.untilPod("web", "has ended twice", func(p *ccisim.Pod) bool {
		return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].RestartCount == 1 &&
			p.Status.ContainerStatuses[0].LastTerminationState.Terminated != nil &&
			p.Status.ContainerStatuses[0].State.Waiting != nil
	})
	assert.Equal(t, int32(4), pod.Status.ContainerStatuses[0].LastTerminationState.Terminated.ExitCode)
	assert.ElementsMatch(t, []string{"run 1", "err", "unfinished"}, strings.Split(strings.TrimSpace(logOf("")), "\n"))
	assert.ElementsMatch(t, []string{"run 0", "err", "unfinished"},
		strings.Split(strings.TrimSpace(logOf("previous=true")), "\n"))
}

func TestProcessTermination(t *testing.T) {
	cases := map[string]struct {
		script string
		grace  string
		want   int32
	}{
		"a process that handles SIGTERM": {`trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done`, "30", 9},
		"a process that ignores SIGTERM": {`trap '' TERM; echo ready; while :; do sleep 0.01; done`, "1", 137},
		"no grace period":                {`echo ready; exec sleep 3600`, "0", 137},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newNamespaceEnv(t, withProcesses, func(c *ccisim.Config) { c.FinalizerDelay = 200 * time.Millisecond })
			b.createPod("web", withCommand("sh", "-c", tc.script))
			b.eventually(func() bool {
				return strings.Contains(string(b.do("GET", podsPath+"/web/log", nil).body), "ready")
			}, "the process is ready")
			b.want(http.StatusOK, "DELETE", podsPath+"/web?gracePeriodSeconds="+tc.grace, nil)
			pod := b.untilPod("web", "has ended", func(p *ccisim.Pod) bool {
				return p.Status.ContainerStatuses[0].State.Terminated != nil
			})
			assert.Equal(t, tc.want, pod.Status.ContainerStatuses[0].State.Terminated.ExitCode)
			b.untilGone("web")
		})
	}
}

// The processes of a Pod share a directory, in which the container says that it has ended.
func TestSidecarProcessesEndAfterTheContainers(t *testing.T) {
	const waits = `trap '[ -e ended ] && exit 7; exit 8' TERM; echo ready; while :; do sleep 0.01; done`
	sidecar := object{
		"name": "side", "image": ccisim.ProcessImage, "restartPolicy": "Always",
		"command": []string{"sh", "-c", waits},
	}
	script := func(last string) string {
		return `while [ ! -e go ]; do sleep 0.01; done; ` + last
	}
	cases := map[string]struct {
		script string
		end    func(b *env)
	}{
		"of a Job": {script("touch ended"), func(b *env) {
			_, _, err := b.exec("token-1", "", v4, "touch", "go")
			require.NoError(b.t, err)
		}},
		"of a deleted Pod": {`trap 'touch go' TERM; ` + script("sleep 0.2; touch ended"), func(b *env) {
			b.want(http.StatusOK, "DELETE", podsPath+"/web", nil)
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newNamespaceEnv(t, withProcesses, func(c *ccisim.Config) { c.FinalizerDelay = time.Second })
			b.createPod("web", withCommand("sh", "-c", tc.script), withSpec("restartPolicy", "Never"),
				withSpec("initContainers", []object{sidecar}))
			b.eventually(func() bool {
				return strings.Contains(string(b.do("GET", podsPath+"/web/log?container=side", nil).body), "ready")
			}, "the sidecar is ready")
			b.untilPhase("web", "Running")
			tc.end(b)
			pod := b.untilPod("web", "the sidecar has ended", func(p *ccisim.Pod) bool {
				if p.Status.InitContainerStatuses[0].State.Terminated == nil {
					assert.NotEqual(t, corev1.PodSucceeded, p.Status.Phase, "the sidecar still runs")
					return false
				}
				return true
			})
			assert.Equal(t, int32(7), pod.Status.InitContainerStatuses[0].State.Terminated.ExitCode)
			assert.Zero(t, pod.Status.InitContainerStatuses[0].RestartCount)
			assert.Equal(t, corev1.PodSucceeded, pod.Status.Phase)
		})
	}
}

func TestProcessStartError(t *testing.T) {
	b := newNamespaceEnv(t, withProcesses)
	b.createPod("web", withCommand("no-such-program"), withSpec("restartPolicy", "Never"))
	pod := b.untilPhase("web", "Failed")
	ended := pod.Status.ContainerStatuses[0].State.Terminated
	assert.Equal(t, int32(128), ended.ExitCode)
	assert.Contains(t, ended.Message, "no-such-program")
}

func TestProcessesAreOffByDefault(t *testing.T) {
	b := newNamespaceEnv(t)
	file := filepath.Join(t.TempDir(), "made")
	b.createPod("web", withCommand("touch", file))
	b.untilPhase("web", "Running")
	_, _, err := b.exec("token-1", "", v4, "touch", file)
	assert.ErrorContains(t, err, "is simulated")
	assert.NoFileExists(t, file)
}

func TestProcessesEndWithSimulator(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state.json")
	var pid int
	t.Run("a simulator", func(t *testing.T) {
		b := newNamespaceEnv(t, withProcesses, withState(state))
		b.createPod("web", withCommand("sh", "-c", "echo $$; exec sleep 3600"))
		b.eventually(func() bool {
			text := strings.TrimSpace(string(b.do("GET", podsPath+"/web/log", nil).body))
			number, err := strconv.Atoi(text)
			pid = number
			return err == nil
		}, "the process prints its PID")
		require.NoError(t, syscall.Kill(pid, 0))
	})
	assert.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, "the process ends with its simulator")
	again := newEnv(t, withProcesses, withState(state))
	pod := again.untilPod("web", "runs again", func(p *ccisim.Pod) bool {
		return p.Status.ContainerStatuses[0].RestartCount == 1 && p.Status.ContainerStatuses[0].State.Running != nil
	})
	assert.Equal(t, int32(137), pod.Status.ContainerStatuses[0].LastTerminationState.Terminated.ExitCode)
}

func TestExportersNeedLoopbackAddresses(t *testing.T) {
	cfg := ccisim.Config{Credentials: []ccisim.Credential{account}, Exporters: true}
	assert.ErrorContains(t, cfg.Validate(), "127.0.0.0/8")
	cfg.SubnetCIDR = "127.1.0.0/16"
	assert.NoError(t, cfg.Validate())
}

func TestExporterReportsUsage(t *testing.T) {
	b := newNamespaceEnv(t, withProcesses, func(c *ccisim.Config) { c.Exporters, c.SubnetCIDR = true, "127.78.0.0/16" })
	b.createPod("busy", withCommand("sh", "-c", "while :; do :; done"))
	b.createPod("idle", withAnnotations(behavior+"cpu-cores", "2", behavior+"memory-bytes", "4096"))
	b.createPod("none", withAnnotations("monitoring.cci.io/enable-pod-metrics", "False"))
	metrics := func(name string) string {
		pod := b.untilPhase(name, "Running")
		response, err := http.Get("http://" + pod.Status.PodIP + ":19100/metrics")
		if err != nil {
			return ""
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return string(text)
	}
	b.eventually(func() bool {
		_, value, found := strings.Cut(metrics("busy"), `pod="busy"} `)
		value, _, _ = strings.Cut(value, "\n")
		seconds, err := strconv.ParseFloat(value, 64)
		return found && err == nil && seconds > 0
	}, "a busy process uses CPU")
	assert.Contains(t, metrics("idle"),
		`container_memory_working_set_bytes{container="web",image="registry/nginx:1.27",namespace="ns",pod="idle"} 4096`)
	assert.Empty(t, metrics("none"))
	b.want(http.StatusOK, "DELETE", podsPath+"/idle?gracePeriodSeconds=0", nil)
	address := b.pod("idle").Status.PodIP
	b.untilGone("idle")
	if address != "" {
		_, err := http.Get("http://" + address + ":19100/metrics")
		assert.Error(t, err, "the exporter ends with its Pod")
	}
}

func TestProcessEnvironment(t *testing.T) {
	b := newNamespaceEnv(t, withProcesses)
	b.want(http.StatusCreated, "POST", "/apis/cci/v2/namespaces/ns/configmaps", object{
		"apiVersion": "cci/v2", "kind": "ConfigMap", "metadata": object{"name": "settings"}, "data": object{"COLOUR": "blue",
			"SIZE": "1"}})
	b.want(http.StatusCreated, "POST", "/apis/cci/v2/namespaces/ns/secrets", object{
		"apiVersion": "cci/v2", "kind": "Secret", "metadata": object{"name": "keys"}, "type": "Opaque",
		"data": object{"key": "aGlkZGVu"}})
	b.createPod("web", withCommand("sleep", "3600"),
		withContainer("envFrom", []object{{"prefix": "MY_", "configMapRef": object{"name": "settings"}}}),
		withContainer("env", []object{
			{"name": "MY_SIZE", "value": "2"}, {"name": "KEY",
				"valueFrom": object{"secretKeyRef": object{"name": "keys", "key": "key"}}},
			{"name": "IP", "valueFrom": object{"fieldRef": object{"fieldPath": "status.podIP"}}},
			{"name": "NONE", "valueFrom": object{"configMapKeyRef": object{"name": "none", "key": "none", "optional": true}}},
		}))
	pod := b.untilPhase("web", "Running")
	out, _, err := b.exec("token-1", "", v4, "sh", "-c", `echo "$MY_COLOUR $MY_SIZE $KEY $IP ${NONE-unset}"`)
	require.NoError(t, err)
	assert.Equal(t, "blue 2 hidden "+pod.Status.PodIP+" unset\n", out)
}
