package forward

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// connectTimeout is how long an endpoint may take to accept a connection before the next is tried.
	connectTimeout = 2 * time.Second
	// connectLimit is how long endpoints are tried for one connection. Endpoints that refuse answer at once, so many of
	// them are tried.
	connectLimit = 10 * time.Second
)

// keepAlive finds endpoints that are gone while a connection is idle, and keeps the memory of devices in between.
// Nothing else ends an idle connection.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4}

func (p *port) openTCP() error {
	// The clients are in the same Pod: the kernel knows when they are gone.
	config := net.ListenConfig{KeepAlive: -1}
	config.SetMultipathTCP(false)
	listener, err := config.Listen(context.Background(), "tcp4", p.at)
	if err != nil {
		return err
	}
	p.listener = listener
	p.forwarder.running.Go(func() { p.accept(listener.(*net.TCPListener)) })
	return nil
}

// accept serves connections until the listener is closed.
func (p *port) accept(listener *net.TCPListener) {
	f := p.forwarder
	for {
		client, err := listener.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			// The process may have no file descriptor left.
			f.logs.Do(func() { f.Logger.Warn("a connection cannot be accepted", p.service.logged(), "err", err) })
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if f.connections.Add(1) > int64(f.Limits.Connections) {
			f.connections.Add(-1)
			f.logs.Do(func() {
				f.Logger.Warn("a connection is reset: more than --max-connections are open", "limit", f.Limits.Connections)
			})
			reset(client)
			continue
		}
		p.service.open.Add(1)
		f.running.Go(func() {
			defer f.connections.Add(-1)
			defer p.service.open.Add(-1)
			p.serve(client)
		})
	}
}

// serve connects a client with an endpoint until both have closed the connection. If no endpoint accepts it, the client
// is reset.
func (p *port) serve(client *net.TCPConn) {
	server, err := p.connect()
	if err != nil {
		p.forwarder.Logger.Debug("no endpoint accepts a connection", p.service.logged(), "address", p.at, "err", err)
		reset(client)
		return
	}
	join(client, server)
}

var errNoEndpoint = errors.New("no endpoint is ready")

// connect connects to one of the endpoints. It tries each once.
func (p *port) connect() (*net.TCPConn, error) {
	usable, first := p.choice.candidates(p.forwarder.Now())
	ctx, stop := context.WithTimeout(context.Background(), connectLimit)
	defer stop()
	dialer := net.Dialer{Timeout: connectTimeout, KeepAliveConfig: keepAlive}
	dialer.SetMultipathTCP(false)
	err := errNoEndpoint
	for i := range usable {
		endpoint := usable[(first+i)%len(usable)]
		var server *net.TCPConn
		if server, err = dialer.DialTCP(ctx, "tcp4", netip.AddrPort{}, endpoint); err == nil {
			p.choice.connected(endpoint, p.forwarder.Now())
			return server, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

// join copies in both directions. The end of one direction is passed on, and the other one continues. An error resets
// both: a client that reads until the end must not take a broken connection for a complete one.
func join(client, server *net.TCPConn) {
	abort := sync.OnceFunc(func() {
		reset(client)
		reset(server)
	})
	transfer := func(to, from *net.TCPConn) {
		if err := transfer(to, from); err != nil {
			abort()
		}
	}
	var both sync.WaitGroup
	both.Go(func() { transfer(server, client) })
	transfer(client, server)
	both.Wait()
	_, _ = client.Close(), server.Close() // Both directions have ended.
}

// transfer copies one direction, and passes its end on.
func transfer(to, from *net.TCPConn) error {
	for {
		ended := false
		err := receive(from, unix.Read, func(data []byte) error {
			if ended = len(data) == 0; ended {
				return to.CloseWrite()
			}
			_, err := to.Write(data)
			return err
		})
		if ended || err != nil {
			return err
		}
	}
}

// reset closes a connection so that the other side sees an error and not an end.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}
