package cci

import (
	"context"
	"net"
	"sync/atomic"

	"github.com/gorilla/websocket"
)

// handshake bounds what is read of a connection until the WebSocket handshake is complete. The dialer bounds only its
// time: it reads a header of any size into memory.
type handshake struct{ over atomic.Bool }

// limitHandshake bounds the handshake of the next connection of a dialer.
func limitHandshake(dialer *websocket.Dialer) *handshake {
	h := &handshake{}
	dial := dialer.NetDialContext
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	dialer.NetDialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &handshakeConn{Conn: conn, handshake: h, left: maxHandshake}, nil
	}
	return h
}

// done lifts the bound.
func (h *handshake) done() { h.over.Store(true) }

// handshakeConn is a connection that fails when too much is read before the handshake is over.
type handshakeConn struct {
	net.Conn
	handshake *handshake
	left      int
}

// Read implements net.Conn.
func (c *handshakeConn) Read(p []byte) (int, error) {
	if c.handshake.over.Load() {
		return c.Conn.Read(p)
	}
	if c.left <= 0 {
		return 0, tooLarge("the handshake has more than %d KiB", maxHandshake>>10)
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}
