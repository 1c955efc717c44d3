package serve

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// pending are the connections on which no request was accepted yet. Beyond the limit the oldest one is closed: clients
// that the server knows send a request at once, so strangers who only connect make room for each other.
type pending struct {
	limit int

	mu sync.Mutex
	// conns has *limitedConn, the oldest first.
	conns list.List
}

// add adds a new connection. It returns the one that must be closed, nil if there is room.
func (p *pending) add(conn *limitedConn) (oldest *limitedConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	conn.place = p.conns.PushBack(conn)
	if p.limit == 0 || p.conns.Len() <= p.limit {
		return nil
	}
	oldest = p.conns.Front().Value.(*limitedConn)
	p.removeLocked(oldest)
	return oldest
}

// remove removes a connection that has ended, or on which a request was accepted. It may be called again.
func (p *pending) remove(conn *limitedConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removeLocked(conn)
}

func (p *pending) removeLocked(conn *limitedConn) {
	if conn.place != nil {
		p.conns.Remove(conn.place)
		conn.place = nil
	}
}

// connectionKey is the key of the connection in the context of a request.
type connectionKey struct{}

// withConnection implements ConnContext of http.Server.
func withConnection(ctx context.Context, conn net.Conn) context.Context {
	if encrypted, ok := conn.(*tls.Conn); ok {
		conn = encrypted.NetConn()
	}
	return context.WithValue(ctx, connectionKey{}, conn)
}

// Accept says that a request comes from a client that the server knows. From then on its connection is not closed for
// Limits.Pending.
func Accept(r *http.Request) {
	if conn, ok := r.Context().Value(connectionKey{}).(*limitedConn); ok {
		conn.pending.remove(conn)
	}
}
