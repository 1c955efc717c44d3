package serve

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
)

// UntilHangUp returns the request with a context that ends when the client closes the connection, even after a handler
// has hijacked it: net/http no longer watches it then. The handler must use both results and must keep reading from the
// connection. The context also ends with the returned function, which must be called.
func UntilHangUp(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	return &hijackable{w, cancel}, r.WithContext(ctx), cancel
}

// hijackable calls hungUp when the hijacked connection ends.
type hijackable struct {
	http.ResponseWriter
	hungUp context.CancelFunc
}

// Unwrap gives http.ResponseController access to the wrapped writer.
func (h *hijackable) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// Hijack implements http.Hijacker. The reader of the new connection returns buffered data first.
func (h *hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	ahead, err := buffers.Reader.Peek(buffers.Reader.Buffered())
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	watched := &watchedConn{Conn: conn, hungUp: h.hungUp}
	reader := bufio.NewReader(io.MultiReader(bytes.NewReader(bytes.Clone(ahead)), watched))
	return watched, bufio.NewReadWriter(reader, bufio.NewWriter(watched)), nil
}

type watchedConn struct {
	net.Conn
	hungUp context.CancelFunc
}

// Read implements net.Conn.
func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.hungUp()
	}
	return n, err
}

// Close implements net.Conn. It closes the connection first, so that a callback cannot write to it.
func (c *watchedConn) Close() error {
	err := c.Conn.Close()
	c.hungUp()
	return err
}
