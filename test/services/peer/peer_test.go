package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/programtest"
)

// run runs a client, and decodes what it prints.
func run[T any](t *testing.T, args ...string) (found T) {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, Run(t.Context(), args, &out))
	require.NoError(t, json.Unmarshal(out.Bytes(), &found), out.String())
	return found
}

// serve runs a server, and returns when it serves.
func serve(t *testing.T, args ...string) (stop context.CancelFunc, ended <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- Run(ctx, append([]string{"serve"}, args...), writer) }()
	_, err := reader.Read(make([]byte, 100))
	require.NoError(t, err)
	return cancel, done
}

func TestClientsAndServers(t *testing.T) {
	web, raw := programtest.FreeAddress(t), programtest.FreeAddress(t)
	stop, ended := serve(t, "--http", web, "--tcp", raw, "--udp", raw)
	host, err := os.Hostname()
	require.NoError(t, err)

	answer := run[Answer](t, "get", "http://"+web)
	assert.Equal(t, host, answer.Host)
	from, _, err := net.SplitHostPort(answer.From)
	require.NoError(t, err)
	assert.Equal(t, "127.0.0.1", from)
	assert.Equal(t, host, run[Answer](t, "udp", raw).Host)
	local, _, err := net.SplitHostPort(run[string](t, "hold", raw, "--for", "10ms"))
	require.NoError(t, err)
	assert.Equal(t, "127.0.0.1", local)
	assert.Equal(t, "all of it", run[string](t, "half", raw))
	assert.Contains(t, run[[]string](t, "lookup", "localhost"), "127.0.0.1")

	found := run[Load](t, "load", "http://"+web, "--for", "100ms")
	assert.Positive(t, found.Requests)
	assert.Equal(t, Load{Requests: found.Requests, Hosts: map[string]int{host: found.Requests}}, found)
	stop()
	require.NoError(t, <-ended)
	found = run[Load](t, "load", "http://"+web, "--for", "100ms")
	assert.Equal(t, found.Requests, found.Failed)
	assert.Contains(t, found.Errors[0], "refused")
}

func TestMeasure(t *testing.T) {
	web := programtest.FreeAddress(t)
	stop, _ := serve(t, "--http", web)
	found := run[Speed](t, "measure", web, "--for", "100ms")
	assert.Positive(t, found.Requests)
	assert.Positive(t, found.Median)
	assert.GreaterOrEqual(t, found.P99, found.Median)
	assert.Positive(t, found.BytesPerSecond)
	stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := Run(ctx, []string{"measure", web}, io.Discard)
	require.Error(t, err)
	assert.Regexp(t, "refused|reset", err.Error(), "the port may belong to another process meanwhile")
}

func TestAServerServesForAWhileAfterSIGTERM(t *testing.T) {
	web := programtest.FreeAddress(t)
	stop, ended := serve(t, "--http", web, "--drain", "300ms")
	stop()
	_, err := get(t.Context(), "http://"+web)
	require.NoError(t, err)
	_, err = get(t.Context(), "http://"+web+"/ready")
	assert.ErrorContains(t, err, "503")
	require.NoError(t, <-ended)
	_, err = get(t.Context(), "http://"+web)
	assert.ErrorContains(t, err, "refused")
}

func TestBadArguments(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"none":               {nil, "no command"},
		"an unknown command": {[]string{"shout", "loud"}, `unknown command "shout"`},
		"no target":          {[]string{"get"}, "needs one argument"},
		"an unknown type":    {[]string{"lookup", "--type", "MX", "localhost"}, `type "MX": must be`},
		"no API server":      {[]string{"api", "/version"}, "reading the token"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			assert.ErrorContains(t, Run(ctx, tc.args, io.Discard), tc.want)
		})
	}
}
