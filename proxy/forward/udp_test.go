package forward

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// answerer answers each datagram with the address of the endpoint and the datagram.
func answerer(t *testing.T, address string, port int) net.PacketConn {
	t.Helper()
	conn, err := net.ListenPacket("udp4", fmt.Sprintf("%s:%d", address, port))
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		buffer := make([]byte, maxRead)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = conn.WriteTo(append([]byte(address+" "), buffer[:n]...), from)
			}
		}
	})
	t.Cleanup(func() {
		_ = conn.Close() // It may be closed already.
		running.Wait()
	})
	return conn
}

func dialUDP(t *testing.T, at string) net.Conn {
	t.Helper()
	conn, err := net.Dial("udp4", at)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// send sends a datagram, until an answer comes or an error.
func send(t *testing.T, conn net.Conn, text string) (string, error) {
	t.Helper()
	require.NoError(t, conn.SetDeadline(time.Now().Add(soon)))
	if _, err := conn.Write([]byte(text)); err != nil {
		return "", err
	}
	buffer := make([]byte, maxRead)
	n, err := conn.Read(buffer)
	return string(buffer[:n]), err
}

func requireAnswer(t *testing.T, conn net.Conn, text, want string) {
	t.Helper()
	got, err := send(t, conn, text)
	require.NoError(t, err)
	require.Equal(t, want+" "+text, got)
}

// freeUDPPort returns a port that no program uses for datagrams.
func freeUDPPort(t *testing.T) int {
	t.Helper()
	conn, err := net.ListenPacket("udp", ":0")
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	return conn.LocalAddr().(*net.UDPAddr).Port
}

// answering is a UDP Service shop/cart whose endpoints run at the addresses.
func answering(t *testing.T, p *pod, addresses ...string) (at string, ports []string) {
	t.Helper()
	port, target := freeUDPPort(t), freeUDPPort(t)
	for _, address := range addresses {
		answerer(t, address, target)
	}
	ports = []string{fmt.Sprintf("dns:%d:%d/UDP", port, target)}
	p.offer("cart", ports, addresses...)
	return p.at("cart", port), ports
}

func (p *pod) sessionCount() int {
	p.sessions.mu.Lock()
	defer p.sessions.mu.Unlock()
	return len(p.sessions.byKey)
}

func TestDatagramsHaveASessionForEachClient(t *testing.T) {
	p := start(t, nil)
	at, _ := answering(t, p, first)
	one, two := dialUDP(t, at), dialUDP(t, at)
	for i := range 10 {
		requireAnswer(t, one, fmt.Sprintf("one %d", i), first)
		requireAnswer(t, two, fmt.Sprintf("two %d", i), first)
	}
	assert.Equal(t, 2, p.sessionCount())
	requireAnswer(t, one, "", first)
	requireAnswer(t, one, string(make([]byte, 60_000)), first)
}

func TestASessionKeepsItsEndpointWhileItIsUsable(t *testing.T) {
	p := start(t, nil)
	at, ports := answering(t, p, first, second)
	conn := dialUDP(t, at)
	before, err := send(t, conn, "")
	require.NoError(t, err)
	for range 10 {
		again, err := send(t, conn, "")
		require.NoError(t, err)
		require.Equal(t, before, again)
	}
	other := second
	if before == second+" " {
		other = first
	}
	p.place("cart", ports, other)
	requireAnswer(t, conn, "the endpoint is not ready any more", other)
	assert.Equal(t, 1, p.sessionCount())
}

func TestAnotherEndpointIsUsedIfOneRefusesDatagrams(t *testing.T) {
	p := start(t, nil)
	port, target := freeUDPPort(t), freeUDPPort(t)
	answerer(t, first, target)
	gone := answerer(t, second, target)
	ports := []string{fmt.Sprintf("dns:%d:%d/UDP", port, target)}
	p.offer("cart", ports, second)
	at := p.at("cart", port)
	conn := dialUDP(t, at)
	requireAnswer(t, conn, "hello", second)
	require.NoError(t, gone.Close())
	p.place("cart", ports, first, second)
	require.Eventually(t, func() bool {
		require.NoError(t, conn.SetDeadline(time.Now().Add(50*time.Millisecond)))
		_, _ = conn.Write([]byte("?"))
		buffer := make([]byte, 100)
		n, err := conn.Read(buffer)
		return err == nil && string(buffer[:n]) == first+" ?"
	}, soon, time.Millisecond)
}

func TestWithoutEndpointsDatagramsAreRefused(t *testing.T) {
	p := start(t, nil)
	at, ports := answering(t, p, first)
	conn := dialUDP(t, at)
	requireAnswer(t, conn, "hello", first)
	p.place("cart", ports)
	assert.Zero(t, p.sessionCount())
	_, err := send(t, conn, "hello")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	p.place("cart", ports, first)
	requireAnswer(t, conn, "hello", first)
}

func TestUDPPortsOfTheApplicationAreNotUsed(t *testing.T) {
	p := start(t, nil)
	port, target := freeUDPPort(t), freeUDPPort(t)
	application, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
	require.NoError(t, err)
	p.offer("cart", []string{fmt.Sprintf("dns:%d:%d/UDP", port, target)}, first)
	_, err = p.Addresses(cart)
	require.ErrorContains(t, err, fmt.Sprintf("port %d/UDP of the Service", port))
	require.NoError(t, application.Close())
	p.at("cart", port)
}

func TestSessionsAreLimited(t *testing.T) {
	p := start(t, func(c *Config) { c.Limits.Sessions = 2 })
	at, _ := answering(t, p, first)
	one, two, three := dialUDP(t, at), dialUDP(t, at), dialUDP(t, at)
	requireAnswer(t, one, "hello", first)
	requireAnswer(t, two, "hello", first)
	requireAnswer(t, one, "hello", first)
	requireAnswer(t, three, "hello", first)
	assert.Equal(t, 2, p.sessionCount())
	p.sessions.mu.Lock()
	var kept []string
	for key := range p.sessions.byKey {
		kept = append(kept, key.client.String())
	}
	p.sessions.mu.Unlock()
	assert.ElementsMatch(t, []string{one.LocalAddr().String(), three.LocalAddr().String()}, kept,
		"the one that was not used for the longest time has given way")
	requireAnswer(t, two, "hello again", first)
}

func TestAnIdleSessionEnds(t *testing.T) {
	p := start(t, nil)
	at, _ := answering(t, p, first)
	conn := dialUDP(t, at)
	requireAnswer(t, conn, "hello", first)
	p.sessions.mu.Lock()
	for _, one := range p.sessions.byKey {
		one.used.Store(time.Now().Add(-idle).UnixNano())
		require.NoError(t, one.conn.SetReadDeadline(time.Now()))
	}
	p.sessions.mu.Unlock()
	require.Eventually(t, func() bool { return p.sessionCount() == 0 }, soon, time.Millisecond)
	requireAnswer(t, conn, "hello again", first)
}

func TestTheEndDoesNotWaitForSessions(t *testing.T) {
	p := start(t, nil)
	at, _ := answering(t, p, first)
	requireAnswer(t, dialUDP(t, at), "hello", first)
	p.stop()
	<-p.ended
	assert.Zero(t, p.sessionCount())
}
