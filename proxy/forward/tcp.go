package forward

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
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

// check is how the proxy finds out whether a client that has ended its direction, or has not been read for long, is
// still there. A client that is gone looks the same, until its kernel forgets it. That takes a minute, or some minutes
// if something is left that it has sent. Then packets to it are refused.
type check struct {
	// packets are those that are sent.
	packets net.KeepAliveConfig
	// writeTimeout is how long nothing can be passed on before they are sent.
	writeTimeout time.Duration
}

var defaultCheck = check{
	packets:      net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 4},
	writeTimeout: 5 * time.Minute,
}

// keepAlive finds endpoints that are gone while a connection is idle, and keeps the memory of devices in between.
// Nothing else ends an idle connection.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4}

func (p *port) openTCP() error {
	// The clients are in the same Pod: the kernel says when they are gone, unless they have ended their direction.
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
		p.logs.Do(func() {
			p.forwarder.Logger.Warn("no endpoint accepts a connection", p.service.logged(), "address", p.at, "err", err)
		})
		reset(client)
		return
	}
	join(client, server, p.forwarder.check)
}

var errNoEndpoint = errors.New("no endpoint is ready")

// connect connects to one of the endpoints. It tries each once, in an order that differs each time: endpoints with
// neighboring addresses are on one node, and do not answer together.
func (p *port) connect() (*net.TCPConn, error) {
	usable, first := p.choice.candidates(p.forwarder.Now())
	if len(usable) == 0 {
		return nil, errNoEndpoint
	}
	ctx, stop := context.WithTimeout(context.Background(), connectLimit)
	defer stop()
	dialer := net.Dialer{Timeout: connectTimeout, KeepAliveConfig: keepAlive}
	dialer.SetMultipathTCP(false)
	stride := coprime(len(usable))
	tried := 0
	var err error
	for ; tried < len(usable) && ctx.Err() == nil; tried++ {
		endpoint := usable[(first+tried*stride)%len(usable)]
		var server *net.TCPConn
		if server, err = dialer.DialTCP(ctx, "tcp4", netip.AddrPort{}, endpoint); err == nil {
			p.choice.connected(endpoint, p.forwarder.Now())
			return server, nil
		}
	}
	return nil, fmt.Errorf("%d of %d endpoints were tried, the last one: %w", tried, len(usable), err)
}

// coprime returns a random number from 1 to n that has no divisor with n in common: its multiples reach each of n
// places once.
func coprime(n int) int {
	for {
		c := 1 + rand.IntN(n)
		a, b := n, c
		for b != 0 {
			a, b = b, a%b
		}
		if a == 1 {
			return c
		}
	}
}

// join copies in both directions. The end of one direction is passed on, and the other one continues. An error resets
// both: a client that reads until the end must not take a broken connection for a complete one.
//
// An endpoint that hangs would keep the connections of all clients that have not waited for it. So those that are gone
// end, and only they.
func join(client, server *net.TCPConn, c check) {
	abort := sync.OnceFunc(func() {
		reset(client)
		reset(server)
	})
	end := sync.OnceFunc(func() { _, _ = client.Close(), server.Close() })
	var ended atomic.Int32
	transfer := func(to, from *net.TCPConn) (ok bool) {
		if err := transfer(to, from, c); err != nil {
			abort()
			return false
		}
		if ended.Add(1) == 2 {
			end()
		}
		return true
	}
	var both sync.WaitGroup
	both.Go(func() {
		if transfer(server, client) && ended.Load() < 2 && c.await(client) {
			end() // The endpoint gets what it has not read yet.
		}
	})
	transfer(client, server)
	both.Wait()
}

// await waits until a client that has ended its direction is gone. It returns false if the connection is closed before.
func (c check) await(client *net.TCPConn) bool {
	raw, err := client.SyscallConn()
	return err == nil && client.SetKeepAliveConfig(c.packets) == nil && raw.Read(isGone) == nil
}

var errUnread = errors.New("it is gone, and what it has sent cannot be passed on")

// ask sends packets to a connection from now on. It returns an error if earlier ones were refused.
func (c check) ask(conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	gone := false
	if err := raw.Control(func(fd uintptr) { gone = isGone(fd) }); err != nil {
		return err
	}
	if gone {
		return errUnread
	}
	return conn.SetKeepAliveConfig(c.packets)
}

// isGone reports whether the other side of a connection does not exist.
func isGone(fd uintptr) bool {
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO)
	return err == nil && info.State == unix.BPF_TCP_CLOSE
}

// reset closes a connection so that the other side sees an error and not an end.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}
