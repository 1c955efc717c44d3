package integration

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// logs reads a log as kubectl does: from the API server, which requests it from the kubelet port.
func logs(t testing.TB, namespace string, options corev1.PodLogOptions) string {
	t.Helper()
	options.Container = "c"
	text, err := trial.Client().CoreV1().Pods(namespace).GetLogs("web", &options).DoRaw(t.Context())
	require.NoError(t, err, string(text))
	return string(text)
}

func TestLogsAreReadThroughTheAPIServer(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t, cloudtest.EveryAPI)
	v, ns := startOn(t, cloud)
	pod := create(t, ns, podOn(v.name(), "web"))
	await(t, ns, "web", isReady)
	write := func(text string) {
		require.NoError(t, cloud.AppendLog(cloudtest.Namespace, identity.CloudName(identity.KeyOf(pod)), "c", text))
	}
	write("one\ntwo\nthree\n")
	assert.Contains(t, logs(t, ns, corev1.PodLogOptions{}), "one\ntwo\nthree\n")
	assert.Equal(t, "three\n", logs(t, ns, corev1.PodLogOptions{TailLines: new(int64(1))}))
	assert.Empty(t, logs(t, ns, corev1.PodLogOptions{TailLines: new(int64(0))}), "zero lines are not all lines")
	assert.Equal(t, "th", logs(t, ns, corev1.PodLogOptions{TailLines: new(int64(1)), LimitBytes: new(int64(2))}))
	assert.Regexp(t, `^20\d\d-\d\d-\d\dT\S+ three\n$`,
		logs(t, ns, corev1.PodLogOptions{TailLines: new(int64(1)), Timestamps: true}))
	assert.Contains(t, logs(t, ns, corev1.PodLogOptions{SinceSeconds: new(int64(3600))}), "one\n")
	assert.Contains(t, logs(t, ns, corev1.PodLogOptions{SinceTime: new(metav1.NewTime(pod.CreationTimestamp.Time))}),
		"one\n")

	stream, err := trial.Client().CoreV1().Pods(ns).GetLogs("web",
		&corev1.PodLogOptions{Container: "c", Follow: true, TailLines: new(int64(1))}).Stream(t.Context())
	require.NoError(t, err)
	lines := bufio.NewReader(stream)
	for _, want := range []string{"three\n", "four\n", "five\n"} {
		if want != "three\n" {
			write(want)
		}
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, want, line)
	}
	require.NoError(t, stream.Close())

	answer, err := trial.Client().CoreV1().Pods(ns).GetLogs("web",
		&corev1.PodLogOptions{Container: "c", Previous: true}).DoRaw(t.Context())
	assert.True(t, apierrors.IsBadRequest(err), "%v", err)
	assert.Contains(t, string(answer), "previous terminated container", "the message of the cloud is passed on")
}

func TestLogsOfAContainerThatHasNotStartedExplainWhy(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t, cloudtest.EveryAPI)
	v, ns := startOn(t, cloud)
	pod := podOn(v.name(), "web")
	pod.Annotations = map[string]string{"ccisim.spillway.io/image": "missing"}
	create(t, ns, pod)
	await(t, ns, "web", func(pod *corev1.Pod) error {
		if len(pod.Status.ContainerStatuses) == 0 {
			return fmt.Errorf("it should have a status")
		}
		return nil
	})
	answer, err := trial.Client().CoreV1().Pods(ns).GetLogs("web", &corev1.PodLogOptions{}).DoRaw(t.Context())
	assert.True(t, apierrors.IsBadRequest(err), "%v", err)
	assert.Contains(t, string(answer), "waiting to start")
}

// token returns the token of a new ServiceAccount with these rules, cluster-wide.
func token(t testing.TB, namespace, account string, rules ...rbacv1.PolicyRule) string {
	t.Helper()
	client := trial.Client()
	ctx := t.Context()
	_, err := client.CoreV1().ServiceAccounts(namespace).Create(ctx,
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}, metav1.CreateOptions{})
	require.NoError(t, err)
	if len(rules) > 0 {
		name := namespace + "-" + account
		_, err = client.RbacV1().ClusterRoles().Create(ctx,
			&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}, metav1.CreateOptions{})
		require.NoError(t, err)
		_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account}},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
		t.Cleanup(func() {
			ctx, rbac := context.Background(), client.RbacV1()
			assert.NoError(t, rbac.ClusterRoleBindings().Delete(ctx, name, metav1.DeleteOptions{}))
			assert.NoError(t, rbac.ClusterRoles().Delete(ctx, name, metav1.DeleteOptions{}))
		})
	}
	issued, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account,
		&authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	require.NoError(t, err)
	return issued.Status.Token
}

// callKubelet sends a request to the kubelet port, without authentication if token is empty.
func callKubelet(t testing.TB, config *Config, method, path, token string) (status int, body string) {
	t.Helper()
	url := "https://" + config.Listen + path
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(""))
	require.NoError(t, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	// The API server verifies the certificate, not this test.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(content)
}

func TestTheKubeletPortIsSelfSignedByDefault(t *testing.T) {
	t.Parallel()
	config := settings(t, cloudtest.New(t, cloudtest.EveryAPI), nodeName(t))
	config.TLSCertFile, config.TLSPrivateKeyFile = "", ""
	start(t, config)
	reader := token(t, namespace(t), "reader",
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"nodes/proxy"}, Verbs: []string{"get"}})
	status, body := callKubelet(t, config, "GET", "/healthz", reader)
	assert.Equal(t, 200, status, body)
	connection, err := tls.Dial("tcp", config.Listen, &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, err)
	defer connection.Close()
	leaf := connection.ConnectionState().PeerCertificates[0]
	assert.NoError(t, leaf.VerifyHostname(config.Node.Name))
	assert.NoError(t, leaf.VerifyHostname(config.Node.IP))
}

func TestTheKubeletPortAuthorizesRequests(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t, cloudtest.EveryAPI)
	v, ns := startOn(t, cloud)
	create(t, ns, podOn(v.name(), "web"))
	await(t, ns, "web", isReady)
	stranger := token(t, ns, "stranger")
	reader := token(t, ns, "reader", rbacv1.PolicyRule{
		APIGroups: []string{""}, Resources: []string{"nodes/proxy"}, Verbs: []string{"get", "create"},
	})
	looker := token(t, ns, "looker",
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"nodes/proxy"}, Verbs: []string{"get"}})
	physician := token(t, ns, "physician",
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"nodes/healthz"}, Verbs: []string{"get"}})
	meter := token(t, ns, "meter", rbacv1.PolicyRule{APIGroups: []string{""},
		Resources: []string{"nodes/metrics", "nodes/stats"}, Verbs: []string{"get"}})
	logPath := "/containerLogs/" + ns + "/web/c"

	cases := map[string]struct {
		method, path, token string
		want                int
		message             string
	}{
		"no token":                      {"GET", logPath, "", 401, "Unauthorized"},
		"an invalid token":              {"GET", logPath, "nonsense", 401, "Unauthorized"},
		"a user without the permission": {"GET", logPath, stranger, 403, "Forbidden"},
		"a user with the permission":    {"GET", logPath, reader, 200, ""},
		"a missing Pod": {"GET", "/containerLogs/" + ns + "/missing/c", reader, 404,
			"missing is not on this node"},
		"a missing container": {"GET", "/containerLogs/" + ns + "/web/d", reader, 404, `no container "d"`},
		"all options are invalid": {"GET", logPath +
			"?tailLines=-1&follow=perhaps&sinceTime=yesterday&stream=Stdout", reader, 400, "tailLines"},
		"a command of a user without the permission": {
			"GET", "/exec/" + ns + "/web/c?command=sh&output=1", stranger, 403,
			"verb=create, resource=nodes, subresource(s)=[proxy]",
		},
		"a command of a user with read permission": {"GET", "/exec/" + ns + "/web/c?command=sh&output=1", looker, 403,
			"verb=create"},
		"a log for a user with read permission":   {"GET", logPath, looker, 200, ""},
		"health for a user with that permission":  {"GET", "/healthz", physician, 200, "ok"},
		"metrics for a user with that permission": {"GET", "/metrics/resource", meter, 200, "resource_scrape_error"},
		"the summary for the same user":           {"GET", "/stats/summary", meter, 200, v.name()},
		"no log for the same user":                {"GET", logPath, meter, 403, "Forbidden"},
		"no metrics with the permission for health": {
			"GET", "/metrics/resource", physician, 403, "subresource(s)=[metrics]",
		},
		"no log with the permission for health": {"GET", logPath, physician, 403, "Forbidden"},
		"an empty command":                      {"POST", "/exec/" + ns + "/web/c?output=1", reader, 400, "command"},
		"a command without streams": {"POST", "/exec/" + ns + "/web/c?command=sh", reader, 400,
			"at least 1 of stdin, stdout, stderr"},
		"a command in a missing container": {"POST", "/exec/" + ns + "/web/d?command=sh&output=1", reader, 404,
			`no container "d"`},
		"a command without an upgrade":   {"POST", "/exec/" + ns + "/web/c?command=sh&output=1", reader, 400, "pgrade"},
		"a command at the former path":   {"POST", "/run/" + ns + "/web/c?cmd=sh", reader, 501, "/exec only"},
		"attach, which is not supported": {"POST", "/attach/" + ns + "/web/c", reader, 501, "kubectl logs -f"},
		"ports of a missing Pod": {"POST", "/portForward/" + ns + "/missing", reader, 404,
			"missing is not on this node"},
		"ports without an upgrade": {"POST", "/portForward/" + ns + "/web", reader, 400, "pgrade"},
		"ports for a user with read permission": {
			"GET", "/portForward/" + ns + "/web", looker, 403, "verb=create",
		},
		"the Pods for a user with get on nodes/proxy": {"GET", "/pods", looker, 200, `"name":"web"`},
		"no Pods with the permission for metrics":     {"GET", "/pods", meter, 403, "subresource(s)=[pods proxy]"},
		"another path": {"GET", "/configz", reader, 404, "does not serve this path"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			status, body := callKubelet(t, v.config, tc.method, tc.path, tc.token)
			assert.Equal(t, tc.want, status, body)
			assert.Contains(t, body, tc.message)
		})
	}
	response, err := http.Get("http://" + v.config.Listen + logPath)
	require.NoError(t, err)
	defer response.Body.Close()
	assert.Equal(t, http.StatusBadRequest, response.StatusCode, "without TLS no log is served")
}
