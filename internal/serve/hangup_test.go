package serve_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/internal/serve"
)

// takeOver serves a handler that takes the connection over, and opens a connection to it that has said more than its
// request.
func takeOver(t *testing.T, handle func(ctx context.Context, conn net.Conn, r *bufio.Reader)) net.Conn {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w, r, done := serve.UntilHangUp(w, r)
		defer done()
		conn, buffers, err := http.NewResponseController(w).Hijack()
		if assert.NoError(t, err) {
			defer conn.Close()
			handle(r.Context(), conn, buffers.Reader)
		}
	}))
	t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: here\r\n\r\nearly words\n")
	require.NoError(t, err)
	return conn
}

func TestAHandlerHearsOfTheEndOfAConnectionThatItTookOver(t *testing.T) {
	ended := make(chan error, 1)
	conn := takeOver(t, func(ctx context.Context, conn net.Conn, r *bufio.Reader) {
		line, err := r.ReadString('\n')
		assert.NoError(t, err)
		assert.Equal(t, "early words\n", line, "what came with the request is not lost")
		_, err = io.WriteString(conn, line)
		assert.NoError(t, err)
		go func() { _, _ = io.Copy(io.Discard, r) }()
		select {
		case <-ctx.Done():
			ended <- nil
		case <-time.After(time.Minute):
			ended <- context.DeadlineExceeded
		}
	})
	line, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "early words\n", line)
	require.NoError(t, conn.Close())
	assert.NoError(t, <-ended)
}

func TestATimeOutOfAReadIsNoHangUp(t *testing.T) {
	ended := make(chan error, 1)
	conn := takeOver(t, func(ctx context.Context, conn net.Conn, r *bufio.Reader) {
		_, err := r.ReadString('\n')
		assert.NoError(t, err)
		assert.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Millisecond)))
		_, err = r.ReadByte()
		assert.ErrorContains(t, err, "timeout")
		ended <- ctx.Err()
	})
	defer conn.Close()
	assert.NoError(t, <-ended)
}

func TestWhoClosesTheConnectionEndsTheContext(t *testing.T) {
	ended := make(chan error, 1)
	conn := takeOver(t, func(ctx context.Context, conn net.Conn, _ *bufio.Reader) {
		assert.NoError(t, conn.Close())
		ended <- ctx.Err()
	})
	defer conn.Close()
	assert.ErrorIs(t, <-ended, context.Canceled)
}
