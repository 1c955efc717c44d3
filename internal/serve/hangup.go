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

// UntilHangUp returns the request with a context that ends when the caller hangs up, also after a handler has taken the
// connection over for a stream of its own: net/http watches it no longer then. The handler must use both results, and
// go on reading the connection. The context ends with the returned function, too, which must be called.
func UntilHangUp(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	return &hijackable{w, cancel}, r.WithContext(ctx), cancel
}

// hijackable tells hungUp when the connection that is taken over ends.
type hijackable struct {
	http.ResponseWriter
	hungUp context.CancelFunc
}

// Unwrap lets http.ResponseController find what else the writer can do.
func (h *hijackable) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// Hijack implements http.Hijacker. What has been read ahead is read first from the new connection's reader.
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

// Close implements net.Conn. First the connection, so that nothing that hears of it is written any more.
func (c *watchedConn) Close() error {
	err := c.Conn.Close()
	c.hungUp()
	return err
}
