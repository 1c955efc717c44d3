package cci_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	utilexec "k8s.io/utils/exec"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

func processes(c *ccisim.Config) { c.Processes = true }

// newShell returns a cloud with a Pod "web" whose container "c" is a real process.
func newShell(t *testing.T, changes ...func(*ccisim.Config)) *cloudtest.Cloud {
	t.Helper()
	changes = append([]func(*ccisim.Config){cloudtest.EveryAPI, processes}, changes...)
	cloud := cloudtest.NewWithNetwork(t, changes...)
	web := pod("web")
	web.Spec.Containers[0].Image, web.Spec.Containers[0].Command = ccisim.ProcessImage, []string{"sleep", "3600"}
	_, err := cloud.Client.CreatePod(t.Context(), cloudtest.Namespace, web)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		found, err := cloud.Client.GetPod(t.Context(), cloudtest.Namespace, "web")
		return err == nil && found.Status.Phase == corev1.PodRunning
	}, cloudtest.Timeout, cloudtest.Tick)
	return cloud
}

// run runs a command in the container of newShell.
func run(ctx context.Context, client *cci.Client, streams cci.ExecStreams, command ...string) error {
	return client.PodExec(ctx, cloudtest.Namespace, "web", cci.ExecOptions{Container: "c", Command: command}, streams)
}

func TestExecWithAServerThatPrefersHTTP2(t *testing.T) {
	cloud := newShell(t)
	server := httptest.NewUnstartedServer(cloud.Handler())
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	config := cloud.Config()
	config.Endpoint, config.Exec.IAMEndpoint = server.URL, server.URL
	config.Transport = server.Client().Transport
	client := cloudtest.NewClient(t, config)
	_, err := client.GetPod(t.Context(), cloudtest.Namespace, "web") // The transport learns of HTTP/2.
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), client, cci.ExecStreams{Stdout: &out}, "echo", "hello"))
	assert.Equal(t, "hello\n", out.String())
}

func TestExec(t *testing.T) {
	cloud := newShell(t)
	cases := map[string]struct {
		command   []string
		stdin     string
		out, errs string
		code      int
	}{
		"output":       {[]string{"echo", "hello"}, "", "hello\n", "", 0},
		"an exit code": {[]string{"sh", "-c", "exit 3"}, "", "", "", 3},
		"a signal":     {[]string{"sh", "-c", "kill -9 $$"}, "", "", "", 137},
		"separate standard output and standard error": {
			[]string{"sh", "-c", "echo out; echo err >&2; exit 1"}, "", "out\n", "err\n", 1,
		},
		"arguments are not interpreted": {
			[]string{"printf", "[%s]", "a b", `"quoted" 'too'`, "$HOME", "x&y=z", "", "ümläut\n"},
			"", "[a b][\"quoted\" 'too'][$HOME][x&y=z][][ümläut\n]", "", 0,
		},
		"input": {[]string{"sh", "-c", "read a; read b; echo $b$a"}, "one\ntwo\n", "twoone\n", "", 0},
		"input of several frames": {
			[]string{"sh", "-c", "head -c 1000000 | wc -c"}, strings.Repeat("x", 1_000_000), "1000000\n", "", 0,
		},
		"output of several frames": {
			[]string{"sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' y"}, "", strings.Repeat("y", 3_000_000), "", 0,
		},
		"no input":             {[]string{"cat"}, "", "", "", 0},
		"a background process": {[]string{"sh", "-c", "sleep 3600 & echo done"}, "", "done\n", "", 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			streams := cci.ExecStreams{Stdout: &out, Stderr: &errs}
			if tc.stdin != "" {
				streams.Stdin = strings.NewReader(tc.stdin)
			}
			err := run(t.Context(), cloud.Client, streams, tc.command...)
			assert.Equal(t, tc.out, out.String())
			assert.Equal(t, tc.errs, errs.String())
			if tc.code == 0 {
				require.NoError(t, err)
				return
			}
			exited, ok := err.(utilexec.ExitError) // The code that serves kubectl does not unwrap errors.
			require.True(t, ok, "%v", err)
			assert.True(t, exited.Exited())
			assert.Equal(t, tc.code, exited.ExitStatus())
		})
	}
	assert.Empty(t, cloud.DroppedFields(), "the service knows every parameter that is sent")
	assert.Equal(t, 1, cloud.CountRequests("create", "tokens", 0), "all commands use one token")
}

func TestExecErrorsAreExplained(t *testing.T) { inBothForms(t, execErrorsAreExplained) }

func execErrorsAreExplained(t *testing.T, form func(*ccisim.Config)) {
	cloud := newShell(t, form)
	streams := cci.ExecStreams{Stdout: io.Discard}
	err := run(t.Context(), cloud.Client, streams, "no-such-program")
	assert.True(t, cci.IsPermanent(err), "%v", err)
	assert.ErrorContains(t, err, "no-such-program")
	assert.NotContains(t, err.Error(), "Internal error occurred", "the kubelet API adds this prefix")

	options := cci.ExecOptions{Container: "c", Command: []string{"true"}}
	err = cloud.Client.PodExec(t.Context(), cloudtest.Namespace, "missing", options, streams)
	assert.True(t, cci.IsNotFound(err), "%v", err)
	options.Container = "d"
	err = cloud.Client.PodExec(t.Context(), cloudtest.Namespace, "web", options, streams)
	assert.True(t, cci.IsPermanent(err), "%v", err)
	assert.ErrorContains(t, err, "container d is not valid for pod web")
}

func TestTerminalSize(t *testing.T) {
	cloud := newShell(t)
	sizes := make(chan cci.TerminalSize)
	keys, typing := io.Pipe()
	screen, output := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		options := cci.ExecOptions{Container: "c", Command: []string{"sh"}, TTY: true}
		streams := cci.ExecStreams{Stdin: keys, Stdout: output, Resize: sizes}
		ended <- cloud.Client.PodExec(t.Context(), cloudtest.Namespace, "web", options, streams)
	}()
	seen := &strings.Builder{}
	until := func(text string) {
		buffer := make([]byte, 1024)
		for !strings.Contains(seen.String(), text) {
			n, err := screen.Read(buffer)
			require.NoError(t, err, seen.String())
			seen.Write(buffer[:n])
		}
	}
	sizes <- cci.TerminalSize{Width: 123, Height: 45}
	_, err := typing.Write([]byte("until stty size | grep '45 123'; do sleep 0.01; done; test -t 0 && echo termi''nal\n"))
	require.NoError(t, err)
	until("terminal")
	assert.Contains(t, seen.String(), "45 123")
	sizes <- cci.TerminalSize{Width: 80, Height: 24}
	_, err = typing.Write([]byte("until stty size | grep '24 80'; do sleep 0.01; done; echo resi''zed\n"))
	require.NoError(t, err)
	until("resized")
	_, err = typing.Write([]byte("exit 7\n"))
	require.NoError(t, err)
	go func() { _, _ = io.Copy(io.Discard, screen) }()
	assert.Equal(t, 7, (<-ended).(utilexec.ExitError).ExitStatus())
}

func TestIdleStreamIsKeptAlive(t *testing.T) {
	cloud := newShell(t, func(c *ccisim.Config) { c.ExecIdle = 300 * time.Millisecond })
	command := []string{"sh", "-c", "sleep 1; echo still here"}
	for name, keys := range map[string]io.Reader{"with input": neverEnding(t), "without": nil} {
		t.Run(name, func(t *testing.T) {
			config := cloud.Config()
			config.Exec.KeepAlive = 50 * time.Millisecond
			var out bytes.Buffer
			client, streams := cloudtest.NewClient(t, config), cci.ExecStreams{Stdin: keys, Stdout: &out}
			require.NoError(t, run(t.Context(), client, streams, command...))
			assert.Equal(t, "still here\n", out.String())
		})
	}
	err := run(t.Context(), cloud.Client, cci.ExecStreams{Stdout: io.Discard}, command...)
	assert.True(t, cci.IsTransient(err), "the cloud closes an idle stream: %v", err)
	assert.ErrorContains(t, err, "broke")
}

// neverEnding returns an input that never delivers anything.
func neverEnding(t *testing.T) io.Reader {
	reader, writer := io.Pipe()
	t.Cleanup(func() { assert.NoError(t, writer.Close()) })
	return reader
}

func TestExecEndsWhenTheCallerCancels(t *testing.T) {
	cloud := newShell(t)
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, cloud.Client, cci.ExecStreams{Stdout: writer}, "sh", "-c", "echo started; sleep 3600; echo never")
	}()
	started := make([]byte, len("started\n"))
	_, err := io.ReadFull(reader, started)
	require.NoError(t, err)
	cancel()
	assert.ErrorIs(t, <-ended, context.Canceled)
}

func TestExecEndsWithItsContainer(t *testing.T) {
	cloud := newShell(t)
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(t.Context(), cloud.Client, cci.ExecStreams{Stdout: writer}, "sh", "-c", "echo started; sleep 3600")
	}()
	_, err := io.ReadFull(reader, make([]byte, len("started\n")))
	require.NoError(t, err)
	now := cci.DeleteOptions{GraceSeconds: new(int64(0))}
	require.NoError(t, cloud.Client.DeletePod(t.Context(), cloudtest.Namespace, "web", now))
	exited, ok := (<-ended).(utilexec.ExitError)
	require.True(t, ok)
	assert.Equal(t, 137, exited.ExitStatus())
}

func TestTokensAreRenewed(t *testing.T) {
	cloud := newShell(t, func(c *ccisim.Config) { c.TokenLife = time.Hour })
	streams := cci.ExecStreams{Stdout: io.Discard}
	require.NoError(t, run(t.Context(), cloud.Client, streams, "true"))
	cloud.RevokeTokens()
	require.NoError(t, run(t.Context(), cloud.Client, streams, "true"), "a token that is refused is replaced")
	assert.Equal(t, 2, cloud.CountRequests("create", "tokens", http.StatusCreated))

	given := cloud.Config()
	given.Credentials, given.Exec.IAMEndpoint = cci.Credentials{AccessKey: "AK", SecretKey: "SK", AuthToken: "made up"}, ""
	err := run(t.Context(), cloudtest.NewClient(t, given), streams, "true")
	assert.True(t, cci.IsDenied(err), "a token of the credentials is not: %v", err)

	wrong := cloud.Config()
	wrong.Credentials = cci.Credentials{AccessKey: "AK", SecretKey: "wrong"}
	err = run(t.Context(), cloudtest.NewClient(t, wrong), streams, "true")
	assert.True(t, cci.IsDenied(err), "%v", err)
	assert.ErrorContains(t, err, "requesting an IAM token")
	assert.Equal(t, 2, cloud.CountRequests("create", "tokens", http.StatusCreated))
}

func TestTokenIsRenewedBeforeItExpires(t *testing.T) {
	cloud := newShell(t, func(c *ccisim.Config) { c.TokenLife = 500 * time.Millisecond })
	streams := cci.ExecStreams{Stdout: io.Discard}
	require.NoError(t, run(t.Context(), cloud.Client, streams, "sleep", "0.6"))
	require.NoError(t, run(t.Context(), cloud.Client, streams, "true"))
	assert.Equal(t, 2, cloud.CountRequests("create", "tokens", http.StatusCreated))
}

func TestSignedHandshake(t *testing.T) {
	cloud := newShell(t, func(c *ccisim.Config) { c.Policies.SignedExec = false })
	config := cloud.Config()
	config.Exec = cci.ExecConfig{Handshake: cci.HandshakeSignature}
	client := cloudtest.NewClient(t, config)
	streams := cci.ExecStreams{Stdout: io.Discard}
	err := run(t.Context(), client, streams, "true")
	assert.True(t, cci.IsDenied(err), "%v", err)
	cloud.Behave(t, func(p *ccisim.Policies) { p.SignedExec = true })
	require.NoError(t, run(t.Context(), client, streams, "printf", "%s", "a b&c=d"))
	assert.Zero(t, cloud.CountRequests("create", "tokens", 0))
}

func TestOtherSubprotocolIsRefused(t *testing.T) {
	upgrader := websocket.Upgrader{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if assert.NoError(t, err) {
			assert.NoError(t, conn.Close())
		}
	}))
	t.Cleanup(server.Close)
	client := cloudtest.NewClient(t, cci.Config{
		Endpoint: server.URL, ProjectID: "p", Credentials: cci.Credentials{AccessKey: "a", SecretKey: "s", AuthToken: "t"},
		QPS: 10, Burst: 10, RequestTimeout: time.Second, Tries: 1, RetryDelay: time.Millisecond,
	})
	err := run(t.Context(), client, cci.ExecStreams{Stdout: io.Discard}, "true")
	assert.ErrorContains(t, err, "does not support the subprotocol v4.channel.k8s.io")
}
