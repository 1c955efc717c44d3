package forward

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// hold keeps connections open until the end of the test, and counts them.
func hold(t *testing.T) (serve func(*net.TCPConn), held *atomic.Int64) {
	t.Helper()
	held = new(atomic.Int64)
	return func(*net.TCPConn) {
		held.Add(1)
		<-t.Context().Done()
	}, held
}

// checkSoon makes the proxy find out sooner which clients are gone.
func (p *pod) checkSoon() {
	p.check.packets.Idle, p.check.packets.Interval, p.check.writeTimeout = time.Second, time.Second, time.Second
}

// forgetSoon makes the kernel forget a connection that is closed after a second, and not after minutes.
func forgetSoon(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		assert.NoError(t, unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_LINGER2, 1))
		assert.NoError(t, unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_USER_TIMEOUT, 1000))
	}))
}

// A program that calls an endpoint that hangs gives up, and calls again. Its connections must not add up until the
// proxy has no more for other Services.
func TestAnEndpointThatHangsKeepsNoConnectionOfAClientThatIsGone(t *testing.T) {
	p := start(t, func(c *Config) { c.Limits.Connections = 10 })
	p.checkSoon()
	serve, held := hold(t)
	at, _ := serving(t, p, serve, first)
	waits := dial(t, at)
	require.NoError(t, waits.CloseWrite())
	for range 9 {
		conn := dial(t, at)
		_, err := io.WriteString(conn, "hello?")
		require.NoError(t, err)
		forgetSoon(t, conn)
		require.NoError(t, conn.Close())
	}
	require.Eventually(t, func() bool { return held.Load() == 10 }, soon, time.Millisecond)
	require.Eventually(t, func() bool { return p.connections.Load() == 1 }, soon, time.Millisecond)
	require.NoError(t, waits.SetReadDeadline(time.Now().Add(3*time.Second)))
	_, err := waits.Read(make([]byte, 1))
	assert.ErrorContains(t, err, "i/o timeout", "a client that waits for its answer keeps its connection")
}

// What a client has sent before it closed its connection reaches the endpoint, however slowly that reads.
func TestAnEndpointGetsEverythingOfAClientThatIsGone(t *testing.T) {
	const size = 1 << 20
	p := start(t, nil)
	p.checkSoon()
	read, gone := make(chan struct{}), make(chan int64, 1)
	at, _ := serving(t, p, func(conn *net.TCPConn) {
		select {
		case <-read:
		case <-t.Context().Done():
		}
		n, err := io.Copy(io.Discard, conn)
		assert.NoError(t, err)
		gone <- n
	}, first)
	conn := dial(t, at)
	_, err := conn.Write(make([]byte, size))
	require.NoError(t, err)
	forgetSoon(t, conn)
	require.NoError(t, conn.Close())
	require.Eventually(t, func() bool { return p.connections.Load() == 0 }, soon, time.Millisecond)
	close(read)
	assert.Equal(t, int64(size), <-gone)
}

// liveHeap returns the bytes of the heap that are in use.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC() // Pools keep what they have for two cycles.
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// Programs may open many connections whose other end is slow. What is under way is in the kernel, and not here.
func TestSlowReadersTakeNoMemory(t *testing.T) {
	const clients = 30
	p := start(t, nil)
	p.checkSoon()
	serve, held := hold(t)
	at, _ := serving(t, p, func(conn *net.TCPConn) {
		assert.NoError(t, conn.SetReadBuffer(1))
		serve(conn)
	}, first)
	before, goroutines := liveHeap(), runtime.NumGoroutine()
	var conns []*net.TCPConn
	for range clients {
		conn := dial(t, at)
		require.NoError(t, conn.SetWriteBuffer(1))
		conns = append(conns, conn)
	}
	var writing sync.WaitGroup
	for _, conn := range conns {
		require.NoError(t, conn.SetWriteDeadline(time.Now().Add(2*time.Second)))
		writing.Go(func() {
			var err error
			for err == nil {
				_, err = conn.Write(make([]byte, 1<<10))
			}
			assert.ErrorContains(t, err, "i/o timeout", "all is full")
		})
	}
	writing.Wait()
	require.Equal(t, int64(clients), held.Load())
	assert.Less(t, (liveHeap()-before)/clients, int64(24<<10))
	// And when the clients give up, nothing is left.
	for _, conn := range conns {
		forgetSoon(t, conn)
		require.NoError(t, conn.Close())
	}
	require.Eventually(t, func() bool { return p.connections.Load() == 0 }, soon, time.Millisecond)
	requireGoroutines(t, goroutines+clients) // Those of the endpoint.
}

// requireGoroutines waits until there are no more goroutines than before, and those with which it waits.
func requireGoroutines(t *testing.T, before int) {
	t.Helper()
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+2 }, soon, time.Millisecond)
}

func TestBothDirectionsAreCopiedWhileTheOtherIsClosed(t *testing.T) {
	const size = 10 << 20
	p := start(t, nil)
	at, _ := serving(t, p, func(conn *net.TCPConn) {
		n, err := io.Copy(io.Discard, conn) // Until the client ends its direction.
		assert.NoError(t, err)
		assert.Equal(t, int64(size), n)
		_, err = conn.Write(make([]byte, size))
		assert.NoError(t, err)
	}, first)
	conn := dial(t, at)
	_, err := conn.Write(make([]byte, size))
	require.NoError(t, err)
	require.NoError(t, conn.CloseWrite())
	n, err := io.Copy(io.Discard, conn)
	require.NoError(t, err)
	assert.Equal(t, int64(size), n)
	require.Eventually(t, func() bool { return p.connections.Load() == 0 }, soon, time.Millisecond)
}

// A node that is gone takes all endpoints with neighboring addresses with it.
func TestEndpointsAreTriedInAnotherOrderEachTime(t *testing.T) {
	for n := 1; n < 200; n++ {
		stride, seen := coprime(n), map[int]bool{}
		for i := range n {
			seen[(n/2+i*stride)%n] = true
		}
		require.Len(t, seen, n, "stride %d", stride)
	}
	second := map[int]bool{}
	for range 1000 {
		second[coprime(97)] = true
	}
	assert.Len(t, second, 96)
}

// flood opens connections, and closes each in one of the ways in which a connection can end.
func flood(at string, n int) {
	var flooding sync.WaitGroup
	for worker := range 8 {
		flooding.Go(func() {
			for i := worker; i < n; i += 8 {
				conn, err := net.DialTimeout("tcp", at, time.Second)
				if err != nil {
					continue
				}
				switch i % 4 {
				case 0:
					_ = conn.(*net.TCPConn).SetLinger(0)
				case 1:
					_, _ = conn.Write([]byte("half a quest"))
				case 2:
					_ = conn.(*net.TCPConn).CloseWrite()
					_, _ = conn.Read(make([]byte, 1))
				}
				_ = conn.Close()
			}
		})
	}
	flooding.Wait()
}

func TestAFloodOfConnectionsLeavesNothing(t *testing.T) {
	p := start(t, func(c *Config) { c.Limits.Connections = 50 })
	for name, serve := range map[string]func(*net.TCPConn){
		"an endpoint that answers": echoes,
		"an endpoint that resets":  func(conn *net.TCPConn) { _ = conn.SetLinger(0) },
		"an endpoint that ends":    func(*net.TCPConn) {},
	} {
		t.Run(name, func(t *testing.T) {
			p.t = t
			at, _ := serving(t, p, serve, first)
			goroutines, memory := runtime.NumGoroutine(), liveHeap()
			flood(at, 4000)
			require.Eventually(t, func() bool { return p.connections.Load() == 0 }, soon, time.Millisecond)
			requireGoroutines(t, goroutines)
			assert.Less(t, liveHeap()-memory, int64(1<<20))
		})
	}
}

// A program may send from every port.
func TestAFloodOfDatagramsLeavesNoMoreThanItsSessions(t *testing.T) {
	const sessions = 50
	p := start(t, func(c *Config) { c.Limits.Sessions = sessions })
	at, ports := answering(t, p, first)
	goroutines := runtime.NumGoroutine()
	var flooding sync.WaitGroup
	for range 4 {
		flooding.Go(func() {
			for range 1000 {
				conn, err := net.Dial("udp4", at)
				if assert.NoError(t, err) {
					_, _ = conn.Write([]byte("?"))
					_ = conn.Close()
				}
			}
		})
	}
	flooding.Wait()
	assert.LessOrEqual(t, p.sessionCount(), sessions)
	conn := dialUDP(t, at)
	require.Eventually(t, func() bool { // Datagrams are lost while there are too many.
		_, _ = conn.Write([]byte("and now?"))
		_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		n, err := conn.Read(make([]byte, 100))
		return err == nil && n > 0
	}, soon, time.Millisecond)
	requireGoroutines(t, goroutines+sessions)
	p.place("cart", ports)
	requireGoroutines(t, goroutines)
}

// limitFiles lowers the limit of file descriptors of this process to a number of further ones.
func limitFiles(t *testing.T, further uint64) {
	t.Helper()
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	highest, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Close(highest))
	lower := unix.Rlimit{Cur: uint64(highest) + further, Max: limit.Max}
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &lower))
	t.Cleanup(func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) })
}

func TestTheEndOfAllFileDescriptorsIsSurvived(t *testing.T) {
	p := start(t, nil)
	at, _ := serving(t, p, echoes, first)
	// A connection takes four here: two of the proxy, one of each end. Any of them may be the one that is missing.
	failures := func() int { return p.logged("cannot be accepted") + p.logged("no endpoint accepts") }
	for further := uint64(0); further < 50 && failures() == 0; further++ {
		t.Run(fmt.Sprintf("%d", further), func(t *testing.T) {
			exchange(t, dial(t, at), "before")
			limitFiles(t, 30+further)
			var conns []net.Conn
			for {
				conn, err := net.DialTimeout("tcp", at, time.Second)
				if errors.Is(err, syscall.EMFILE) {
					break
				}
				if err == nil { // It may be reset already.
					t.Cleanup(func() { _ = conn.Close() })
					conns = append(conns, conn)
				}
			}
			for _, conn := range conns {
				require.NoError(t, conn.Close())
			}
			require.Eventually(t, func() bool { return p.connections.Load() == 1 }, soon, time.Millisecond)
			exchange(t, dial(t, at), "after")
		})
	}
	assert.Positive(t, failures(), "the proxy has lacked one")
}

func TestTheOldestSessionGivesWayIfThereIsNoFileDescriptor(t *testing.T) {
	p := start(t, nil)
	at, _ := answering(t, p, first)
	var conns []net.Conn
	for range 20 {
		conns = append(conns, dialUDP(t, at))
	}
	limitFiles(t, 5)
	for _, conn := range conns {
		requireAnswer(t, conn, "hello", first)
	}
	assert.Less(t, p.sessionCount(), len(conns))
}

func TestAnEndpointThatRefusesIsLoggedOnceAMinute(t *testing.T) {
	p := start(t, nil)
	at, ports := serving(t, p, saysItsName, first)
	p.place("cart", ports, second, third) // Nothing listens there.
	for range 10 {
		requireReset(t, at)
	}
	assert.Equal(t, 1, p.logged("no endpoint accepts a connection"))
	for _, part := range []string{"service=cart", "2 of 2 endpoints were tried", "connection refused"} {
		assert.Equal(t, 1, p.logged(part), part)
	}
}
