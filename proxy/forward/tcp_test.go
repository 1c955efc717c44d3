package forward

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// serving is a Service shop/cart whose endpoints run at the first addresses.
func serving(t *testing.T, p *pod, serve func(*net.TCPConn), addresses ...string) (at string, ports []string) {
	t.Helper()
	port, target := freePort(t), freePort(t)
	for _, address := range addresses {
		listen(t, fmt.Sprintf("%s:%d", address, target), serve)
	}
	ports = []string{fmt.Sprintf("http:%d:%d", port, target)}
	p.offer("cart", ports, addresses...)
	return p.at("cart", port), ports
}

func TestTheEndOfOneDirectionIsPassedOn(t *testing.T) {
	p := start(t, nil)
	at, _ := serving(t, p, func(conn *net.TCPConn) {
		// The answer comes after the end of the request.
		request, err := io.ReadAll(conn)
		if err == nil {
			_, _ = fmt.Fprintf(conn, "%d bytes", len(request))
		}
	}, first)
	conn := dial(t, at)
	_, err := conn.Write(make([]byte, 1<<20))
	require.NoError(t, err)
	require.NoError(t, conn.CloseWrite())
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Equal(t, "1048576 bytes", string(answer))
}

func TestAnEndpointMayEndItsDirectionFirst(t *testing.T) {
	p := start(t, nil)
	received := make(chan string, 1)
	at, _ := serving(t, p, func(conn *net.TCPConn) {
		_, _ = io.WriteString(conn, "hello")
		_ = conn.CloseWrite()
		text, _ := io.ReadAll(conn)
		received <- string(text)
	}, first)
	conn := dial(t, at)
	hello, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(hello))
	_, err = io.WriteString(conn, "and more")
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	assert.Equal(t, "and more", <-received)
}

func TestAResetIsPassedOn(t *testing.T) {
	p := start(t, nil)
	seen := make(chan error, 1)
	at, _ := serving(t, p, func(conn *net.TCPConn) {
		question := make([]byte, 5)
		_, _ = io.ReadFull(conn, question)
		if string(question) == "reset" {
			_ = conn.SetLinger(0)
			return
		}
		_, err := conn.Read(question)
		seen <- err
	}, first)
	conn := dial(t, at)
	_, err := io.WriteString(conn, "reset")
	require.NoError(t, err)
	_, err = io.ReadAll(conn)
	assert.ErrorIs(t, err, syscall.ECONNRESET, "a client must not take it for the end")

	conn = dial(t, at)
	_, err = io.WriteString(conn, "await")
	require.NoError(t, err)
	require.NoError(t, conn.SetLinger(0))
	require.NoError(t, conn.Close())
	assert.ErrorIs(t, <-seen, syscall.ECONNRESET)
}

func TestTheNextEndpointIsTriedIfOneRefuses(t *testing.T) {
	p := start(t, nil)
	at, ports := serving(t, p, saysItsName, first)
	p.place("cart", ports, second, first, third) // Nothing listens at the second and the third.
	for range 20 {
		assert.Equal(t, first, ask(t, at))
	}
	p.place("cart", ports, second, third)
	requireReset(t, at)
}

// requireReset checks that a connection is reset, before or after the client notices that it was accepted.
func requireReset(t *testing.T, at string) {
	t.Helper()
	conn, err := net.Dial("tcp", at)
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

// silent occupies an address so that the kernel answers no request for a connection.
func silent(t *testing.T, address [4]byte, port int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: address}))
	require.NoError(t, unix.Listen(fd, 0))
	at := fmt.Sprintf("%d.%d.%d.%d:%d", address[0], address[1], address[2], address[3], port)
	for {
		conn, err := net.DialTimeout("tcp", at, 200*time.Millisecond)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return
		}
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
	}
}

func TestTheNextEndpointIsTriedIfOneDoesNotAnswer(t *testing.T) {
	p := start(t, nil)
	port, target := freePort(t), freePort(t)
	listen(t, fmt.Sprintf("%s:%d", first, target), saysItsName)
	silent(t, [4]byte{127, 0, 7, 2}, target)
	service := []string{fmt.Sprintf("http:%d:%d", port, target)}
	p.offer("cart", service, second)
	at := p.at("cart", port)
	// The clock of affinity makes the silent endpoint the first.
	p.Forwarder.mu.Lock()
	choice := &p.services[cart].ports[portKey{"TCP", uint16(port)}].choice
	p.Forwarder.mu.Unlock()
	usable, _ := choice.candidates(p.clock())
	choice.connected(usable[0], p.clock())
	p.place("cart", service, first, second)
	choice.mu.Lock()
	choice.affinity = time.Hour
	choice.mu.Unlock()
	begun := time.Now()
	assert.Equal(t, first, ask(t, at))
	assert.GreaterOrEqual(t, time.Since(begun), connectTimeout)
	assert.Equal(t, first, ask(t, at), "and it is the first from now on")
}

func TestWithoutEndpointsConnectionsAreRefused(t *testing.T) {
	p := start(t, nil)
	at, ports := serving(t, p, echoes, first)
	conn := dial(t, at)
	exchange(t, conn, "hello")

	p.place("cart", ports)
	assert.True(t, refused(at))
	exchange(t, conn, "an open connection continues")
	assert.Equal(t, at, p.at("cart", int(netPort(t, at))), "DNS has the address all the time")
	assert.True(t, refused(at))

	p.place("cart", ports, first)
	exchange(t, dial(t, at), "hello again")
	exchange(t, conn, "still here")
}

func netPort(t *testing.T, at string) uint16 {
	t.Helper()
	address, err := net.ResolveTCPAddr("tcp", at)
	require.NoError(t, err)
	return uint16(address.Port)
}

// A rollout replaces all endpoints while clients connect: no connection fails, and none is cut.
func TestARolloutFailsNoConnection(t *testing.T) {
	p := start(t, nil)
	at, ports := serving(t, p, echoes, first, second, third)
	p.place("cart", ports, first)
	kept := dial(t, at)
	exchange(t, kept, "before")
	stop, ended := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				ended <- n
				return
			default:
			}
			conn, err := net.Dial("tcp", at)
			if assert.NoError(t, err) {
				_, err = io.WriteString(conn, "hello")
				assert.NoError(t, err)
				_, err = io.ReadFull(conn, make([]byte, 5))
				assert.NoError(t, err)
				_ = conn.Close()
			}
		}
	}()
	for _, addresses := range [][]string{{first, second}, {second}, {second, third}, {third}, {first, third}} {
		p.place("cart", ports, addresses...)
	}
	close(stop)
	assert.Positive(t, <-ended)
	exchange(t, kept, "after")
}

// Nothing but its ends closes a connection: there is no deadline, and the clock of the proxy does not matter.
func TestAConnectionMayBeIdle(t *testing.T) {
	p := start(t, nil)
	at, _ := serving(t, p, echoes, first)
	conn := dial(t, at)
	exchange(t, conn, "hello")
	p.advance(10 * time.Minute)
	p.offer("other", []string{fmt.Sprintf("http:%d", freePort(t))}, first)
	exchange(t, conn, "hello again")
	require.Eventually(t, func() bool { return p.connections.Load() == 1 }, soon, time.Millisecond)
}

func TestConnectionsAreLimited(t *testing.T) {
	p := start(t, func(c *Config) { c.Limits.Connections = 2 })
	at, _ := serving(t, p, echoes, first)
	one, two := dial(t, at), dial(t, at)
	exchange(t, one, "hello")
	exchange(t, two, "hello")
	for range 3 {
		requireReset(t, at)
	}
	assert.Equal(t, 1, p.logged("more than --max-connections are open"), "it is logged once a minute")
	exchange(t, one, "hello again")
	require.NoError(t, two.Close())
	require.Eventually(t, func() bool { return p.connections.Load() == 1 }, soon, time.Millisecond)
	exchange(t, dial(t, at), "hello")
}

func TestTheEndWaitsForConnections(t *testing.T) {
	p := start(t, nil)
	at, _ := serving(t, p, echoes, first)
	conn := dial(t, at)
	exchange(t, conn, "hello")
	p.stop()
	require.Eventually(t, func() bool { return refused(at) }, soon, time.Millisecond)
	exchange(t, conn, "the last words")
	select {
	case <-p.ended:
		t.Fatal("it has not waited")
	default:
	}
	require.NoError(t, conn.Close())
	<-p.ended
	assert.Equal(t, 1, p.logged("waiting for open connections to end"))
}
