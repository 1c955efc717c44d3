package failover

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/programtest"
)

// network carries the connections of one process to the API server and to the cloud. While it is cut, nothing passes in
// either direction, and no connection ends: neither side is told. What was sent meanwhile, also the end of a
// connection, arrives when the network is mended, as TCP repeats it then.
type network struct {
	// gate is held by what passes, and by the cut.
	gate  sync.RWMutex
	isCut bool

	mu          sync.Mutex
	connections map[net.Conn]bool
}

// newNetwork returns a network that lasts until the test ends.
func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{connections: map[net.Conn]bool{}}
	t.Cleanup(func() {
		n.mend()
		n.forget()
	})
	return n
}

// to returns an address at which the network leads to a server.
func (n *network) to(t *testing.T, server string) string {
	t.Helper()
	address := programtest.FreeAddress(t)
	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go n.carry(client, server)
		}
	}()
	return address
}

// cut cuts the network, and mend mends it. Each may be called again.
func (n *network) cut() {
	if !n.isCut {
		n.gate.Lock()
		n.isCut = true
	}
}

func (n *network) mend() {
	if n.isCut {
		n.isCut = false
		n.gate.Unlock()
	}
}

// forget ends all connections, as those of a machine that was switched off end when it is on again.
func (n *network) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for connection := range n.connections {
		_ = connection.Close()
	}
}

// carry connects a client to a server until both have ended, or one of them by an error.
func (n *network) carry(client net.Conn, server string) {
	defer n.follow(client)()
	n.gate.RLock()
	connection, err := net.Dial("tcp", server)
	n.gate.RUnlock()
	if err != nil {
		return
	}
	defer n.follow(connection)()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, connection}, {connection, client}} {
		both.Go(func() {
			_, err := io.Copy(gated{way[1], n}, way[0])
			n.gate.RLock()
			defer n.gate.RUnlock()
			if to, ok := way[1].(*net.TCPConn); ok && err == nil {
				_ = to.CloseWrite() // Fails if the connection has ended.
				return
			}
			_, _ = client.Close(), connection.Close()
		})
	}
	both.Wait()
}

// follow notes a connection and returns what closes it.
func (n *network) follow(connection net.Conn) func() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.connections[connection] = true
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.connections, connection)
		_ = connection.Close()
	}
}

// gated writes while the network is not cut.
type gated struct {
	io.Writer
	network *network
}

// Write implements io.Writer.
func (g gated) Write(data []byte) (int, error) {
	g.network.gate.RLock()
	defer g.network.gate.RUnlock()
	return g.Writer.Write(data)
}

func TestNothingPassesANetworkThatIsCutAndNoConnectionEnds(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	accepted := make(chan net.Conn, 2)
	go func() {
		for {
			connection, err := server.Accept()
			if err != nil {
				return
			}
			accepted <- connection
		}
	}()
	n := newNetwork(t)
	address := n.to(t, server.Addr().String())
	dial := func() net.Conn {
		connection, err := net.Dial("tcp", address)
		require.NoError(t, err)
		t.Cleanup(func() { _ = connection.Close() })
		return connection
	}
	one := dial()
	other := <-accepted
	say := func(to net.Conn, word string) {
		_, err := io.WriteString(to, word)
		require.NoError(t, err)
	}
	receives := func(who net.Conn, word string) {
		t.Helper()
		got := make([]byte, len(word))
		require.NoError(t, who.SetReadDeadline(time.Now().Add(programtest.Timeout)))
		_, err := io.ReadFull(who, got)
		require.NoError(t, err)
		assert.Equal(t, word, string(got))
	}
	receivesNothing := func(who net.Conn) {
		t.Helper()
		require.NoError(t, who.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
		_, err := who.Read(make([]byte, 1))
		var timeout net.Error
		require.ErrorAs(t, err, &timeout, "neither a word nor an end")
		assert.True(t, timeout.Timeout())
	}

	say(one, "before")
	receives(other, "before")
	n.cut()
	say(one, "meanwhile")
	receivesNothing(other)
	say(other, "answer")
	receivesNothing(one)
	dial() // Waits.
	assert.Empty(t, accepted)
	require.NoError(t, one.(*net.TCPConn).CloseWrite())
	receivesNothing(other)

	n.mend()
	receives(other, "meanwhile")
	require.NoError(t, other.SetReadDeadline(time.Now().Add(programtest.Timeout)))
	_, err = other.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "the end arrives, too")
	<-accepted
}
