package kubelet_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/virtual-kubelet/virtual-kubelet/errdefs"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/cert"
	clientexec "k8s.io/client-go/util/exec"
	utilexec "k8s.io/utils/exec"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/kubelet"
)

// timeout bounds everything that a test waits for.
const timeout = 20 * time.Second

// permissions lists what each user of the cluster may do with the subresources of the Node. A user's token is the name.
var permissions = map[string][]string{
	"admin":    {"get proxy", "create proxy"},
	"viewer":   {"get proxy"},
	"monitor":  {"get metrics", "get stats"},
	"prober":   {"get healthz"},
	"lister":   {"get pods"},
	"stranger": {},
}

// newCluster returns a client of an API server that answers reviews by permissions.
func newCluster(t *testing.T) kubernetes.Interface {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		switch r.URL.Path {
		case "/apis/authentication.k8s.io/v1/tokenreviews":
			var review authenticationv1.TokenReview
			assert.NoError(t, json.NewDecoder(r.Body).Decode(&review))
			if _, known := permissions[review.Spec.Token]; known || review.Spec.Token == "unreviewable" {
				review.Status.Authenticated, review.Status.User.Username = true, review.Spec.Token
			}
			assert.NoError(t, json.NewEncoder(w).Encode(&review))
		case "/apis/authorization.k8s.io/v1/subjectaccessreviews":
			var review authorizationv1.SubjectAccessReview
			assert.NoError(t, json.NewDecoder(r.Body).Decode(&review))
			if review.Spec.User == "unreviewable" {
				_, _ = io.WriteString(w, "{") // Not an answer.
				return
			}
			a := review.Spec.ResourceAttributes
			assert.Equal(t, "nodes/virtual", a.Resource+"/"+a.Name)
			review.Status.Allowed = slices.Contains(permissions[review.Spec.User], a.Verb+" "+a.Subresource)
			assert.NoError(t, json.NewEncoder(w).Encode(&review))
		default:
			t.Errorf("unexpected request %s", r.URL.Path)
		}
	}))
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	require.NoError(t, err)
	return client
}

// clientCA writes a file with a CA certificate.
func clientCA(t testing.TB) string {
	t.Helper()
	certificate, _, err := cert.GenerateSelfSignedCertKey("ca", nil, nil)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "ca.crt")
	require.NoError(t, os.WriteFile(file, certificate, 0o600))
	return file
}

// pods is a node with the Pod default/web, whose container c runs. logs and exec are what a test sets.
type pods struct {
	logs    func(options cci.LogOptions) (io.ReadCloser, error)
	exec    func(ctx context.Context, options cci.ExecOptions, streams cci.ExecStreams) error
	address string
	list    []*corev1.Pod
}

func (p *pods) List() []*corev1.Pod { return slices.Clone(p.list) }

func (p *pods) check(namespace, pod string) error {
	if namespace != "default" || pod != "web" {
		return errdefs.NotFoundf("pod %s/%s is not on this node", namespace, pod)
	}
	return nil
}

func (p *pods) Logs(_ context.Context, namespace, pod string, options cci.LogOptions) (io.ReadCloser, error) {
	if err := p.check(namespace, pod); err != nil {
		return nil, err
	}
	return p.logs(options)
}

func (p *pods) CheckRunning(namespace, pod, container string) error {
	if container == "waiting" {
		return errdefs.InvalidInput("container waiting is not running")
	}
	return p.check(namespace, pod)
}

func (p *pods) Exec(
	ctx context.Context, _, _ string, options cci.ExecOptions, streams cci.ExecStreams,
) error {
	return p.exec(ctx, options, streams)
}

func (p *pods) Address(namespace, pod string) (string, error) {
	return p.address, p.check(namespace, pod)
}

// usage answers with the path.
type usage struct{}

func (usage) ServeResource(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, r.URL.Path)
}
func (usage) ServeCAdvisor(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, r.URL.Path)
}
func (usage) ServeSummary(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, r.URL.Path)
}

// newPort serves the kubelet port without TLS and returns its URL.
func newPort(t *testing.T, p *pods, changes ...func(*kubelet.Config)) string {
	t.Helper()
	server := httptest.NewServer(newHandler(t, p, changes...))
	t.Cleanup(server.Close)
	return server.URL
}

func newHandler(t *testing.T, p *pods, changes ...func(*kubelet.Config)) http.Handler {
	t.Helper()
	auth, err := kubelet.NewAuth(newCluster(t), newCluster(t), "virtual", clientCA(t))
	require.NoError(t, err)
	config := kubelet.Config{
		Auth: auth, Pods: p, PortForward: true, Usage: usage{}, Logger: slog.New(slog.DiscardHandler),
	}
	for _, change := range changes {
		change(&config)
	}
	handler, err := kubelet.New(config)
	require.NoError(t, err)
	return handler
}

// send sends a request with the token of a user, or without a token if user is empty.
func send(t *testing.T, method, url, user string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	if user != "" {
		request.Header.Set("Authorization", "Bearer "+user)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(content)
}

func text(content string) func(cci.LogOptions) (io.ReadCloser, error) {
	return func(cci.LogOptions) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }
}

func TestCallersAreAuthenticatedAndAuthorized(t *testing.T) {
	port := newPort(t, &pods{logs: text("log\n")})
	const log, exec = "/containerLogs/default/web/c", "/exec/default/web/c?command=sh&output=1"
	cases := map[string]struct {
		method, path, user string
		want               int
		wantBody           string
	}{
		"no credentials":   {"GET", log, "", 401, "Unauthorized"},
		"an unknown token": {"GET", log, "unknown", 401, "Unauthorized"},
		"a user without permissions": {
			"GET", log, "stranger", 403, "user=stranger, verb=get, resource=nodes",
		},
		"the cluster cannot authorize":      {"GET", log, "unreviewable", 500, "Authorization error"},
		"logs need get on nodes/proxy":      {"GET", log, "viewer", 200, "log\n"},
		"metrics need get on nodes/metrics": {"GET", "/metrics/resource", "monitor", 200, "/metrics/resource"},
		"stats need get on nodes/stats":     {"GET", "/stats/summary", "monitor", 200, "/stats/summary"},
		"metrics are no other subresource": {
			"GET", "/metrics/resource", "viewer", 403, "subresource(s)=[metrics]",
		},
		"permission for metrics is none for logs": {"GET", log, "monitor", 403, "Forbidden"},
		"health needs get on nodes/healthz":       {"GET", "/healthz", "prober", 200, "ok"},
		"health, or get on nodes/proxy":           {"GET", "/healthz", "viewer", 200, "ok"},
		"a GET that runs a command needs create":  {"GET", exec, "viewer", 403, "verb=create"},
		"so does port forwarding":                 {"GET", "/portForward/default/web", "viewer", 403, "verb=create"},
		"other methods have other verbs":          {"DELETE", log, "admin", 403, "verb=delete"},
		"even an unknown path needs a permission": {"GET", "/unknown", "stranger", 403, "Forbidden"},
		"Pods need get on nodes/pods":             {"GET", "/pods", "lister", 200, "PodList"},
		"Pods, or get on nodes/proxy":             {"GET", "/pods", "viewer", 200, "PodList"},
		"running Pods need get on nodes/pods":     {"GET", "/runningpods/", "lister", 200, "PodList"},
		"running Pods, or get on nodes/proxy":     {"GET", "/runningpods/", "viewer", 200, "PodList"},
		"permission for metrics is none for Pods": {"GET", "/pods", "monitor", 403, "subresource(s)=[pods proxy]"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			status, body := send(t, tc.method, port+tc.path, tc.user)
			assert.Equal(t, tc.want, status, body)
			assert.Contains(t, body, tc.wantBody)
		})
	}
}

func TestPathsAndErrors(t *testing.T) {
	failing := map[string]error{
		"throttled": &cci.Error{Kind: cci.Throttled, Status: 429}, "denied": &cci.Error{Kind: cci.Denied, Status: 403},
		"transient": &cci.Error{Kind: cci.Transient, Status: 503},
		"unstarted": &cci.Error{Kind: cci.Permanent, Status: 400}, "unknown": errors.New("unknown"),
	}
	p := &pods{logs: func(options cci.LogOptions) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("")), failing[options.Container]
	}}
	port := newPort(t, p)
	cases := map[string]struct {
		method, path string
		want         int
		wantBody     string
	}{
		"a Pod of another node":         {"GET", "/containerLogs/default/other/c", 404, "is not on this node"},
		"invalid log options":           {"GET", "/containerLogs/default/web/c?tailLines=-1&follow=x", 400, "follow"},
		"the cloud throttles":           {"GET", "/containerLogs/default/web/throttled", 429, "429"},
		"the cloud denies":              {"GET", "/containerLogs/default/web/denied", 502, "403"},
		"the cloud has an error":        {"GET", "/containerLogs/default/web/transient", 502, "503"},
		"the container has not started": {"GET", "/containerLogs/default/web/unstarted", 400, "400"},
		"any other error":               {"GET", "/containerLogs/default/web/unknown", 500, "unknown"},
		"a command without a program":   {"POST", "/exec/default/web/c?output=1", 400, "command"},
		"a command without streams":     {"POST", "/exec/default/web/c?command=sh", 400, "at least 1 of stdin"},
		"a command in another node's Pod": {
			"POST", "/exec/default/other/c?command=sh&output=1", 404, "not on this node",
		},
		"a command in a waiting container": {
			"POST", "/exec/default/web/waiting?command=sh&output=1", 400, "is not running",
		},
		"a command without an upgrade": {"POST", "/exec/default/web/c?command=sh&output=1", 400, "pgrade"},
		"the path with the UID":        {"POST", "/exec/default/web/u1/c?command=sh&output=1", 400, "pgrade"},
		"run":                          {"POST", "/run/default/web/c?cmd=sh", 501, "/exec only"},
		"attach":                       {"POST", "/attach/default/web/c", 501, "kubectl logs -f"},
		"ports of another node's Pod":  {"POST", "/portForward/default/other", 404, "not on this node"},
		"ports without an upgrade":     {"POST", "/portForward/default/web", 400, "pgrade"},
		"an unknown path":              {"GET", "/configz", 404, "does not serve this path"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			status, body := send(t, tc.method, port+tc.path, "admin")
			assert.Equal(t, tc.want, status, body)
			assert.Contains(t, body, tc.wantBody)
		})
	}
}

// The message of kubectl attach has a colon, which API servers of Kubernetes 1.34 do not show if it is sent as text.
func TestARefusedUpgradeIsAnsweredWithAStatus(t *testing.T) {
	port := newPort(t, &pods{})
	cases := map[string]struct {
		path, user, want string
		code             int32
	}{
		"attach":            {"/attach/default/web/c", "admin", "the cloud cannot attach to a container: ", 501},
		"a waiting command": {"/exec/default/web/waiting?command=sh&output=1", "admin", "is not running", 400},
		"a foreign Pod":     {"/portForward/default/other", "admin", "not on this node", 404},
		"a stranger":        {"/exec/default/web/c?command=sh&output=1", "", "Unauthorized", 401},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, port+tc.path, nil)
			require.NoError(t, err)
			request.Header.Set("Connection", "Upgrade")
			request.Header.Set("Upgrade", "SPDY/3.1")
			if tc.user != "" {
				request.Header.Set("Authorization", "Bearer "+tc.user)
			}
			response, err := http.DefaultClient.Do(request)
			require.NoError(t, err)
			defer response.Body.Close()
			var status metav1.Status
			require.NoError(t, json.NewDecoder(response.Body).Decode(&status))
			assert.Equal(t, int(tc.code), response.StatusCode)
			assert.Equal(t, "v1/Status Failure", status.APIVersion+"/"+status.Kind+" "+status.Status)
			assert.Equal(t, tc.code, status.Code)
			assert.Contains(t, status.Message, tc.want)
		})
	}
}

func TestPortForwardingCanBeDisabled(t *testing.T) {
	port := newPort(t, &pods{}, func(c *kubelet.Config) { c.PortForward = false })
	status, body := send(t, "POST", port+"/portForward/default/web", "admin")
	assert.Equal(t, http.StatusNotImplemented, status)
	assert.Contains(t, body, "portForward is false")
}

func TestLogsAreFlushedAndOptionsForwarded(t *testing.T) {
	reader, writer := io.Pipe()
	var got cci.LogOptions
	port := newPort(t, &pods{logs: func(options cci.LogOptions) (io.ReadCloser, error) {
		got = options
		return reader, nil
	}})
	target := port + "/containerLogs/default/web/c?follow=true&tailLines=0"
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer admin")
	response, err := http.DefaultClient.Do(request) // It returns although the log is empty so far.
	require.NoError(t, err)
	defer response.Body.Close()
	assert.Equal(t, cci.LogOptions{Container: "c", Follow: true, TailLines: new(int64(0))}, got)
	for _, line := range []string{"one\n", "two\n"} {
		_, err = io.WriteString(writer, line)
		require.NoError(t, err)
		buffer := make([]byte, len(line))
		_, err = io.ReadFull(response.Body, buffer)
		require.NoError(t, err)
		assert.Equal(t, line, string(buffer))
	}
	require.NoError(t, writer.CloseWithError(errors.New("the stream broke")))
	rest, err := io.ReadAll(response.Body)
	assert.Empty(t, rest)
	assert.NoError(t, err, "an error after the first byte ends the stream")
}

// execute runs a command through the port as kubectl does.
func execute(ctx context.Context, t *testing.T, port, query string, options remotecommand.StreamOptions) error {
	t.Helper()
	target, err := url.Parse(port + "/exec/default/web/c?" + query)
	require.NoError(t, err)
	executor, err := remotecommand.NewSPDYExecutor(&rest.Config{BearerToken: "admin"}, http.MethodPost, target)
	require.NoError(t, err)
	return executor.StreamWithContext(ctx, options)
}

func TestExecForwardsStreamsAndExitCodes(t *testing.T) {
	p := &pods{exec: func(_ context.Context, options cci.ExecOptions, streams cci.ExecStreams) error {
		assert.Equal(t, cci.ExecOptions{Container: "c", Command: []string{"sh", "-c", "a b"}}, options)
		input, err := io.ReadAll(io.LimitReader(streams.Stdin, 5))
		assert.NoError(t, err)
		fmt.Fprintf(streams.Stdout, "out %s", input)
		fmt.Fprint(streams.Stderr, "err")
		return fmt.Errorf("wrapped: %w", utilexec.CodeExitError{Err: errors.New("exit code 3"), Code: 3})
	}}
	var out, errs bytes.Buffer
	err := execute(t.Context(), t, newPort(t, p), "command=sh&command=-c&command=a+b&input=1&output=1&error=1",
		remotecommand.StreamOptions{Stdin: strings.NewReader("input"), Stdout: &out, Stderr: &errs})
	exited, ok := errors.AsType[clientexec.CodeExitError](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, 3, exited.Code)
	assert.Equal(t, "out input", out.String())
	assert.Equal(t, "err", errs.String())
}

func TestExecForwardsOnlyRequestedStreams(t *testing.T) {
	p := &pods{exec: func(_ context.Context, _ cci.ExecOptions, streams cci.ExecStreams) error {
		assert.Nil(t, streams.Stdin)
		assert.Nil(t, streams.Stderr)
		assert.Nil(t, streams.Resize)
		_, err := io.WriteString(streams.Stdout, "done")
		return err
	}}
	var out bytes.Buffer
	err := execute(t.Context(), t, newPort(t, p), "command=true&output=1", remotecommand.StreamOptions{Stdout: &out})
	require.NoError(t, err)
	assert.Equal(t, "done", out.String())
}

// sizeQueue delivers one size, and then blocks until the test ends.
type sizeQueue struct {
	once sync.Once
	end  <-chan struct{}
}

func (q *sizeQueue) Next() (size *remotecommand.TerminalSize) {
	q.once.Do(func() { size = &remotecommand.TerminalSize{Width: 120, Height: 40} })
	if size == nil {
		<-q.end
	}
	return size
}

func TestExecForwardsTheTerminalSize(t *testing.T) {
	p := &pods{exec: func(_ context.Context, options cci.ExecOptions, streams cci.ExecStreams) error {
		assert.True(t, options.TTY)
		size := <-streams.Resize
		fmt.Fprintf(streams.Stdout, "%dx%d", size.Width, size.Height)
		return nil
	}}
	var out bytes.Buffer
	err := execute(t.Context(), t, newPort(t, p), "command=sh&output=1&input=1&tty=1", remotecommand.StreamOptions{
		Stdin: strings.NewReader(""), Stdout: &out, Tty: true, TerminalSizeQueue: &sizeQueue{end: t.Context().Done()},
	})
	require.NoError(t, err)
	assert.Equal(t, "120x40", out.String())
}

func TestExecErrorsReachTheCaller(t *testing.T) {
	p := &pods{exec: func(context.Context, cci.ExecOptions, cci.ExecStreams) error {
		return errors.New("no such program")
	}}
	err := execute(t.Context(), t, newPort(t, p), "command=x&output=1", remotecommand.StreamOptions{Stdout: io.Discard})
	assert.ErrorContains(t, err, "no such program")
}

func TestExecEndsWhenTheCallerDisconnects(t *testing.T) {
	ended := make(chan error, 1)
	started := make(chan struct{})
	p := &pods{exec: func(ctx context.Context, _ cci.ExecOptions, _ cci.ExecStreams) error {
		close(started)
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}}
	port := newPort(t, p)
	ctx, disconnect := context.WithCancel(t.Context())
	go func() {
		<-started
		disconnect()
	}()
	assert.Error(t, execute(ctx, t, port, "command=sleep&output=1", remotecommand.StreamOptions{Stdout: io.Discard}))
	select {
	case err := <-ended:
		assert.ErrorIs(t, err, context.Canceled)
	case <-time.After(timeout):
		t.Fatal("the command is still running")
	}
}

// forward forwards a local port to a port of the Pod and returns the local address.
func forward(t *testing.T, port string, remote int) string {
	t.Helper()
	target, err := url.Parse(port + "/portForward/default/web")
	require.NoError(t, err)
	transport, upgrader, err := spdy.RoundTripperFor(&rest.Config{BearerToken: "admin"})
	require.NoError(t, err)
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, target)
	stop, ready := make(chan struct{}), make(chan struct{})
	ports := []string{"0:" + strconv.Itoa(remote)}
	forwarder, err := portforward.NewOnAddresses(
		dialer, []string{"127.0.0.1"}, ports, stop, ready, io.Discard, io.Discard)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("port forwarding ended: %v", err)
	}
	t.Cleanup(func() {
		close(stop)
		<-ended
	})
	local, err := forwarder.GetPorts()
	require.NoError(t, err)
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(local[0].Local)))
}

func TestPortForward(t *testing.T) {
	pod, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = pod.Close() })
	go func() {
		for {
			conn, err := pod.Accept()
			if err != nil {
				return
			}
			question, _ := io.ReadAll(conn) // Until the caller closes its side.
			_, _ = fmt.Fprintf(conn, "answer to %s", question)
			_ = conn.Close()
		}
	}()
	_, podPort, err := net.SplitHostPort(pod.Addr().String())
	require.NoError(t, err)
	remote, err := strconv.Atoi(podPort)
	require.NoError(t, err)
	conn, err := net.Dial("tcp", forward(t, newPort(t, &pods{address: "127.0.0.1"}), remote))
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "question")
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Equal(t, "answer to question", string(answer))
}

func TestPortForwardToAClosedPort(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, podPort, err := net.SplitHostPort(closed.Addr().String())
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	remote, err := strconv.Atoi(podPort)
	require.NoError(t, err)
	conn, err := net.Dial("tcp", forward(t, newPort(t, &pods{address: "127.0.0.1"}), remote))
	require.NoError(t, err)
	defer conn.Close()
	answer, _ := io.ReadAll(conn)
	assert.Empty(t, answer, "the connection is closed")
}

func TestErrorsOfTheConfiguration(t *testing.T) {
	_, err := kubelet.New(kubelet.Config{})
	assert.ErrorContains(t, err, "auth, pods, usage and logger must be set")
	_, err = kubelet.NewAuth(newCluster(t), newCluster(t), "virtual", filepath.Join(t.TempDir(), "missing"))
	assert.ErrorContains(t, err, "reading the CA of client certificates")
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	_, err = kubelet.NewAuth(newCluster(t), newCluster(t), "virtual", empty)
	assert.ErrorContains(t, err, "reading the CA of client certificates")
}

func TestAuthRunsUntilTheContextEnds(t *testing.T) {
	auth, err := kubelet.NewAuth(newCluster(t), newCluster(t), "virtual", clientCA(t))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- auth.Run(ctx) }()
	cancel()
	select {
	case err := <-ended:
		assert.NoError(t, err)
	case <-time.After(timeout):
		t.Fatal("Run does not return")
	}
}
