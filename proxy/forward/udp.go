package forward

import (
	"container/list"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// idle is how long a session stays without a datagram in either direction. conntrack has the same limit for streams.
const idle = 120 * time.Second

// session is one UDP client of a port, and its endpoint.
type session struct {
	port     *port
	client   netip.AddrPort
	endpoint netip.AddrPort
	conn     *net.UDPConn
	// used is when the last datagram was passed on, in nanoseconds.
	used  atomic.Int64
	place *list.Element
}

type sessionKey struct {
	port   *port
	client netip.AddrPort
}

// sessions are the sessions of all ports.
type sessions struct {
	limit int

	mu    sync.Mutex
	byKey map[sessionKey]*session
	// order has the session last that was not used by its client for the longest time.
	order list.List
}

func (s *sessions) init(limit int) { s.limit, s.byKey = limit, map[sessionKey]*session{} }

// get returns the session of a client, or nil.
func (s *sessions) get(key sessionKey) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.byKey[key]
	if one != nil {
		s.order.MoveToFront(one.place)
	}
	return one
}

// add adds a session. If there are too many, the one that was not used for the longest time ends.
func (s *sessions) add(one *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.byKey) >= s.limit {
		s.remove(s.order.Back().Value.(*session))
	}
	one.port.service.open.Add(1)
	one.place = s.order.PushFront(one)
	s.byKey[sessionKey{one.port, one.client}] = one
}

// endOldest ends the session that was not used for the longest time. It returns false if there is none.
func (s *sessions) endOldest() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := s.order.Back()
	if oldest != nil {
		s.remove(oldest.Value.(*session))
	}
	return oldest != nil
}

// endOne ends a session, unless it has ended.
func (s *sessions) endOne(one *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(one)
}

// end ends the sessions for which which returns true.
func (s *sessions) end(which func(*session) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.byKey {
		if which(one) {
			s.remove(one)
		}
	}
}

// remove ends a session, unless it has ended. The lock must be held.
func (s *sessions) remove(one *session) {
	key := sessionKey{one.port, one.client}
	if s.byKey[key] != one {
		return
	}
	delete(s.byKey, key)
	s.order.Remove(one.place)
	one.port.service.open.Add(-1)
	_ = one.conn.Close() // It is open.
}

func (p *port) openUDP() error {
	config := net.ListenConfig{}
	conn, err := config.ListenPacket(context.Background(), "udp4", p.at)
	if err != nil {
		return err
	}
	p.listener = conn
	p.forwarder.running.Go(func() { p.receive(conn.(*net.UDPConn)) })
	return nil
}

// receive passes datagrams of clients on until the socket is closed.
func (p *port) receive(socket *net.UDPConn) {
	for {
		var client netip.AddrPort
		err := receive(socket, func(fd int, buffer []byte) (int, error) {
			n, from, err := unix.Recvfrom(fd, buffer, 0)
			if from, ok := from.(*unix.SockaddrInet4); ok {
				client = netip.AddrPortFrom(netip.AddrFrom4(from.Addr), uint16(from.Port))
			}
			return n, err
		}, func(datagram []byte) { p.send(socket, client, datagram) })
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// send passes a datagram on to the endpoint of the client. An endpoint that has refused an earlier datagram is replaced
// by another one.
func (p *port) send(socket *net.UDPConn, client netip.AddrPort, datagram []byte) {
	for range 2 {
		one := p.forwarder.sessions.get(sessionKey{p, client})
		if one == nil {
			var err error
			if one, err = p.newSession(socket, client); err != nil {
				p.logs.Do(func() {
					p.forwarder.Logger.Warn("a datagram is lost", p.service.logged(), "address", p.at, "err", err)
				})
				return
			}
		}
		one.used.Store(time.Now().UnixNano())
		_, err := one.conn.Write(datagram)
		if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, net.ErrClosed) {
			return // Other errors lose a datagram, as a network may.
		}
		p.forwarder.sessions.endOne(one)
	}
}

func (p *port) newSession(socket *net.UDPConn, client netip.AddrPort) (*session, error) {
	now := p.forwarder.Now()
	usable, first := p.choice.candidates(now)
	if len(usable) == 0 {
		return nil, errNoEndpoint
	}
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(usable[first]))
	if errors.Is(err, syscall.EMFILE) && p.forwarder.sessions.endOldest() {
		conn, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(usable[first]))
	}
	if err != nil {
		return nil, err
	}
	p.choice.connected(usable[first], now)
	one := &session{port: p, client: client, endpoint: usable[first], conn: conn}
	one.used.Store(time.Now().UnixNano())
	p.forwarder.sessions.add(one)
	p.forwarder.running.Go(func() { one.answer(socket) })
	if !p.choice.has(one.endpoint) {
		// The endpoints have changed meanwhile, and this session was not there to be ended.
		p.forwarder.sessions.endOne(one)
	}
	return one, nil
}

// answer passes datagrams of the endpoint back to the client until the session ends.
func (one *session) answer(socket *net.UDPConn) {
	sessions := &one.port.forwarder.sessions
	defer sessions.endOne(one)
	for {
		last := time.Unix(0, one.used.Load())
		if time.Since(last) >= idle {
			return
		}
		_ = one.conn.SetReadDeadline(last.Add(idle)) // An error appears when it is read.
		err := receive(one.conn, unix.Read, func(datagram []byte) {
			one.used.Store(time.Now().UnixNano())
			_, _ = socket.WriteToUDPAddrPort(datagram, one.client) // As a network, it may lose datagrams.
		})
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return // Closed, or refused by the endpoint.
		}
	}
}
