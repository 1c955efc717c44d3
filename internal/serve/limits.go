package serve

import (
	"container/list"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spillway-k8s/spillway/internal/counters"
)

// Limits are how many connections and requests in flight a server has at most, and how many of them one address of a
// client.
type Limits struct {
	Connections, ConnectionsOfOne int
	Requests, RequestsOfOne       int
	// Pending is how many connections may be open on which no request was accepted (Accept). Beyond it the oldest one is
	// closed. 0 is any number.
	Pending int
	// Idle is how long a connection without requests stays open.
	Idle time.Duration
}

// The limits of each server. One address of a client gets half of the connections and requests: the programs are called
// by the API server, a scheduler or a monitoring system, and other clients that reach the port must not keep them out.
// A further connection is closed, a further request is answered with status 503, both at once: a queue would only make
// every client wait.
const (
	// maxConnections is about 50 KB each. API servers and schedulers keep some connections. Every stream of the kubelet
	// port has one.
	maxConnections = 1024
	// maxRequests is more than an API server has in flight (by default 600 of all kinds).
	maxRequests = 2048
	// maxStreams is how many requests one HTTP/2 connection may have in flight. Clients open another one beyond.
	maxStreams = 250
	// maxHeader is the size of a request's header in bytes. A header that is longer is answered with status 431.
	maxHeader = 64 << 10
	// maxStreamingHeader is maxHeader of servers that stream: a command to run in a container is part of the URL.
	maxStreamingHeader = 256 << 10
	// receiveBuffer is how much of its bodies one HTTP/2 connection may send ahead, in bytes. It is the minimum.
	receiveBuffer = 64 << 10

	// headerTimeout is how long the TLS handshake and the header of a request may take, each.
	headerTimeout = 5 * time.Second
	// bodyTimeout is how long the header and the body of a request may take.
	bodyTimeout = 10 * time.Second
	// writeTimeout is how long a request may take from its header to the end of its response.
	writeTimeout = 30 * time.Second
	// idleTimeout is more than the 90 s after which clients in Go close a connection. If the server closed it first, it
	// could do so when a request is under way.
	idleTimeout = 3 * time.Minute
	// silenceTimeout is after how long without a frame an HTTP/2 client must answer a ping.
	silenceTimeout = 30 * time.Second
)

// retryAfter is what a client that is rejected is told to wait, in seconds.
const retryAfter = "1"

// Rejections counts what the servers of a program reject.
type Rejections struct{ total *prometheus.CounterVec }

// NewRejections registers the metric. Registering it twice is an error.
func NewRejections(registerer prometheus.Registerer) (*Rejections, error) {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "spillway_server_rejected_total",
		Help: "Connections that were closed and requests that were answered with status 503 because the server (webhook, " +
			"verbs, kubelet, health, services) or one client had too many, by cause (connections, requests).",
	}, []string{"server", "cause"})
	if err := registerer.Register(total); err != nil {
		return nil, fmt.Errorf("registering the metric of rejected requests: %w", err)
	}
	return &Rejections{total}, nil
}

// Causes of rejections.
const (
	causeConnections = "connections"
	causeRequests    = "requests"
)

// start exports the counters of a server.
func (r *Rejections) start(server string) {
	if r != nil {
		counters.Start(r.total, []string{server}, []string{causeConnections, causeRequests})
	}
}

func (r *Rejections) count(server, cause string) {
	if r != nil {
		r.total.WithLabelValues(server, cause).Inc()
	}
}

// httpServer returns a server with all timeouts and limits, except that of connections.
func (s Server) httpServer() *http.Server {
	server := &http.Server{
		Handler:           s.limitRequests(s.Handler),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       s.limits().Idle,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          s.ErrorLog,
		ConnContext:       withConnection,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReceiveBufferPerConnection: receiveBuffer,
			MaxReceiveBufferPerStream:     receiveBuffer,
			MaxReadFrameSize:              receiveBuffer,
			SendPingTimeout:               silenceTimeout,
			PingTimeout:                   headerTimeout,
			WriteByteTimeout:              writeTimeout,
		},
	}
	if s.Streaming {
		server.Handler = limitBodies(server.Handler)
		server.ReadTimeout, server.WriteTimeout, server.MaxHeaderBytes = 0, 0, maxStreamingHeader
	}
	return server
}

func (s Server) limits() Limits {
	if s.Limits != (Limits{}) {
		return s.Limits
	}
	return Limits{
		Connections: maxConnections, ConnectionsOfOne: maxConnections / 2,
		Requests: maxRequests, RequestsOfOne: maxRequests / 2, Idle: idleTimeout,
	}
}

// limitRequests rejects requests beyond maxRequests.
func (s Server) limitRequests(next http.Handler) http.Handler {
	limits := s.limits()
	shares := NewShares(limits.Requests, limits.RequestsOfOne)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		source := sourceOf(r.RemoteAddr)
		if !shares.Take(source) {
			s.Rejections.count(s.Name, causeRequests)
			RejectBusy(w, "this server has too many requests in flight, or too many of this client")
			return
		}
		defer shares.Give(source)
		next.ServeHTTP(w, r)
	})
}

// RejectBusy answers a request that would exceed a limit of the server.
func RejectBusy(w http.ResponseWriter, message string) {
	w.Header().Set("Retry-After", retryAfter)
	http.Error(w, "Spillway: "+message+": try again later", http.StatusServiceUnavailable)
}

// limitBodies limits the time of a body where the server has no ReadTimeout, because a response may take hours. What
// comes after the body, such as the end of the connection, is not limited.
func limitBodies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			control := http.NewResponseController(w)
			_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // It fails if the connection has ended.
			r.Body = &timedBody{r.Body, control}
		}
		next.ServeHTTP(w, r)
	})
}

// timedBody removes the deadline when the body has ended.
type timedBody struct {
	io.ReadCloser
	control *http.ResponseController
}

// Read implements io.Reader.
func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// limitedListener closes connections beyond the limits.
type limitedListener struct {
	net.Listener
	shares  *Shares
	pending *pending
	reject  func()
}

func (s Server) limitConnections(listener net.Listener) net.Listener {
	limits := s.limits()
	return &limitedListener{
		listener, NewShares(limits.Connections, limits.ConnectionsOfOne), &pending{limit: limits.Pending},
		func() { s.Rejections.count(s.Name, causeConnections) },
	}
}

// Accept implements net.Listener.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		source := sourceOf(conn.RemoteAddr().String())
		if !l.shares.Take(source) {
			l.reject()
			_ = conn.Close()
			continue
		}
		limited := &limitedConn{Conn: conn, give: sync.OnceFunc(func() { l.shares.Give(source) }), pending: l.pending}
		if oldest := l.pending.add(limited); oldest != nil {
			l.reject()
			_ = oldest.Close()
		}
		return limited, nil
	}
}

type limitedConn struct {
	net.Conn
	give    func()
	pending *pending
	// place is that in pending, nil if it is not there. The lock of pending protects it.
	place *list.Element
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	defer c.give()
	c.pending.remove(c)
	return c.Conn.Close()
}
