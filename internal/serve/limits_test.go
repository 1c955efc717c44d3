package serve

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pipes is a listener whose connections are in memory, so that a test has its own time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (*pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// dial connects to the server, which runs in the test's own time until the test ends.
func dial(t *testing.T, s Server) net.Conn {
	t.Helper()
	listener := newPipes()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, listener) }()
	client, server := net.Pipe()
	listener.conns <- server
	t.Cleanup(func() {
		_ = client.Close()
		cancel()
		assert.NoError(t, <-done)
	})
	return client
}

// echo answers with the body. If the request says so, it takes a minute for that.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestTimeout)
		return
	}
	if r.URL.Path == "/minute" {
		time.Sleep(time.Minute)
	}
	_, _ = w.Write(body)
}

func TestAClientThatSendsSlowlyIsCutOff(t *testing.T) {
	const post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
	for name, test := range map[string]struct {
		streaming bool
		sends     string
		within    time.Duration
	}{
		"nothing":                          {false, "", headerTimeout},
		"half a header":                    {false, "GET / HTTP/1.1\r\nHost:", headerTimeout},
		"half a body":                      {false, post + "ab", bodyTimeout},
		"nothing, to a server of streams":  {true, "", headerTimeout},
		"half a header for a stream":       {true, "GET / HTTP/1.1\r\nHost:", headerTimeout},
		"half a body for a stream":         {true, post + "ab", bodyTimeout},
		"no second request":                {false, post + "abcd", idleTimeout},
		"no second request after a stream": {true, post + "abcd", idleTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := dial(t, Server{Handler: http.HandlerFunc(echo), Streaming: test.streaming})
				started := time.Now()
				go func() { _, _ = io.WriteString(conn, test.sends) }()
				_, err := io.ReadAll(conn)
				require.NoError(t, err, "the server closes the connection")
				assert.InDelta(t, test.within.Seconds(), time.Since(started).Seconds(), 1)
			})
		})
	}
}

func TestAClientThatSendsATrickleIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := dial(t, Server{Handler: http.HandlerFunc(echo)})
		started := time.Now()
		var writer sync.WaitGroup
		writer.Go(func() {
			_, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
			for ; err == nil; _, err = io.WriteString(conn, "a") {
				time.Sleep(time.Second)
			}
		})
		_, err := io.ReadAll(conn)
		require.NoError(t, err)
		assert.LessOrEqual(t, time.Since(started), bodyTimeout+2*time.Second)
		writer.Wait()
	})
}

func TestAStreamMayTakeLongAfterItsBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := dial(t, Server{Handler: http.HandlerFunc(echo), Streaming: true})
		go func() {
			_, _ = io.WriteString(conn, "POST /minute HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd")
		}()
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		assert.Equal(t, "abcd", string(body))
	})
}

func TestALongHeaderIsRejected(t *testing.T) {
	for streaming, limit := range map[bool]int{false: maxHeader, true: maxStreamingHeader} {
		address, end, ended := start(t, Server{Handler: http.HandlerFunc(ok), Streaming: streaming})
		for size, want := range map[int]int{limit / 2: http.StatusOK, 2 * limit: http.StatusRequestHeaderFieldsTooLarge} {
			response, err := http.Get("http://" + address + "/?" + strings.Repeat("a", size))
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			assert.Equal(t, want, response.StatusCode)
		}
		http.DefaultClient.CloseIdleConnections()
		end()
		requireEnds(t, ended)
	}
}

// One client opens every connection that it gets. Another one is still served.
func TestOneClientCannotUseUpTheConnections(t *testing.T) {
	registry := prometheus.NewRegistry()
	rejections, err := NewRejections(registry)
	require.NoError(t, err)
	address, end, ended := start(t, Server{Name: "webhook", Rejections: rejections, Handler: http.HandlerFunc(ok)})
	from := func(ip string) net.Conn {
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}).Dial("tcp", address)
		require.NoError(t, err)
		return conn
	}
	get := func(conn net.Conn) error {
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			return err
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return err
		}
		return response.Body.Close()
	}
	var open []net.Conn
	for range maxConnections / 2 {
		open = append(open, from("127.0.0.1"))
	}
	defer func() {
		for _, conn := range open {
			_ = conn.Close()
		}
	}()
	require.NoError(t, get(open[len(open)-1]))
	further := from("127.0.0.1")
	require.Error(t, get(further), "the server closes it at once")
	require.NoError(t, further.Close())
	other := from("127.0.0.2")
	require.NoError(t, get(other))
	require.NoError(t, other.Close())
	assert.InDelta(t, 1, testutil.ToFloat64(rejections.total.WithLabelValues("webhook", "connections")), 0)

	require.NoError(t, open[0].Close())
	require.Eventually(t, func() bool {
		conn := from("127.0.0.1")
		defer conn.Close()
		return get(conn) == nil
	}, timeout, time.Millisecond, "a connection that ends makes room")
	end()
	requireEnds(t, ended)
}

// Every client that reaches a port can connect. Clients that the server knows keep their connections, and get new ones.
func TestConnectionsWithoutAnAcceptedRequestMakeRoom(t *testing.T) {
	for name, files := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			const limit = 10
			server := Server{
				Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/known" {
						Accept(r)
					}
				}),
				Limits: Limits{
					Connections: 1000, ConnectionsOfOne: 1000, Requests: 1000, RequestsOfOne: 1000, Pending: limit, Idle: timeout,
				},
			}
			scheme := "http://"
			if files {
				server.CertFile, server.KeyFile = issue(t, t.TempDir(), 1)
				scheme = "https://"
			}
			address, end, ended := start(t, server)
			// get uses one connection, which a new client would have to open again.
			client := func() (get func(path string) (again bool)) {
				opened := 0
				transport := &http.Transport{
					TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true,
					DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
						opened++
						return new(net.Dialer).DialContext(ctx, network, address)
					},
				}
				t.Cleanup(transport.CloseIdleConnections)
				return func(path string) bool {
					before := opened
					response, err := (&http.Client{Transport: transport, Timeout: timeout}).Get(scheme + address + path)
					require.NoError(t, err)
					require.NoError(t, response.Body.Close())
					return opened > before
				}
			}
			known, unknown := client(), client()
			known("/known")
			unknown("/unknown")
			var strangers []net.Conn
			for range 20 * limit {
				conn, err := net.Dial("tcp", address)
				require.NoError(t, err)
				t.Cleanup(func() { _ = conn.Close() })
				strangers = append(strangers, conn)
			}
			_ = strangers[0].SetReadDeadline(time.Now().Add(timeout))
			_, err := strangers[0].Read(make([]byte, 1))
			require.Error(t, err)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the oldest is closed")
			assert.False(t, known("/known"), "its connection is still there")
			assert.True(t, unknown("/unknown"), "its connection was closed, and it gets another one")
			client()("/known")
			end()
			requireEnds(t, ended)
		})
	}
}

func TestOneClientCannotUseUpTheRequests(t *testing.T) {
	registry := prometheus.NewRegistry()
	rejections, err := NewRejections(registry)
	require.NoError(t, err)
	_, err = NewRejections(registry)
	require.ErrorContains(t, err, "registering the metric of rejected requests")
	leave := make(chan struct{})
	var inside, group sync.WaitGroup
	handler := Server{Name: "verbs", Rejections: rejections}.limitRequests(
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				inside.Done()
				<-leave
			}
			fmt.Fprint(w, "ok")
		}))
	send := func(path, from string) *httptest.ResponseRecorder {
		recorder, request := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, path, nil)
		request.RemoteAddr = from
		handler.ServeHTTP(recorder, request)
		return recorder
	}
	for i := range maxRequests / 2 {
		inside.Add(1)
		group.Go(func() { send("/slow", fmt.Sprintf("10.0.0.1:%d", i)) })
	}
	inside.Wait()
	rejected := send("/", "10.0.0.1:1")
	assert.Equal(t, http.StatusServiceUnavailable, rejected.Code)
	assert.Equal(t, retryAfter, rejected.Header().Get("Retry-After"))
	assert.Contains(t, rejected.Body.String(), "too many requests in flight")
	assert.Equal(t, http.StatusOK, send("/", "10.0.0.2:1").Code)
	assert.InDelta(t, 1, testutil.ToFloat64(rejections.total.WithLabelValues("verbs", "requests")), 0)
	close(leave)
	group.Wait()
	assert.Equal(t, http.StatusOK, send("/", "10.0.0.1:1").Code)
}

func TestAServerHasTheLimitsThatItIsGiven(t *testing.T) {
	server := Server{Limits: Limits{Connections: 2, ConnectionsOfOne: 1, Requests: 2, RequestsOfOne: 2, Idle: time.Minute}}
	assert.Equal(t, server.Limits, server.limits())
	assert.Equal(t, time.Minute, server.httpServer().IdleTimeout)
	listener := newPipes()
	t.Cleanup(func() { assert.NoError(t, listener.Close()) })
	limited := server.limitConnections(listener)
	var ends []net.Conn
	dial := func() net.Conn {
		client, server := net.Pipe()
		ends = append(ends, client)
		listener.conns <- server
		return client
	}
	t.Cleanup(func() {
		for _, end := range ends {
			_ = end.Close()
		}
	})
	go dial()
	first, err := limited.Accept()
	require.NoError(t, err)
	accepted := make(chan net.Conn)
	go func() {
		second, err := limited.Accept()
		assert.NoError(t, err)
		accepted <- second
	}()
	_, err = dial().Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "all pipes have one address, and it has a connection")
	require.NoError(t, first.Close())
	dial()
	assert.NoError(t, (<-accepted).Close())
}

func TestSharesAreBoundedInTotal(t *testing.T) {
	s := NewShares(3, 2)
	assert.True(t, s.Take("a"))
	assert.True(t, s.Take("a"))
	assert.False(t, s.Take("a"), "its share")
	assert.True(t, s.Take("b"))
	assert.False(t, s.Take("c"), "the total")
	s.Give("a")
	assert.True(t, s.Take("c"))
	assert.Len(t, s.by, 3)
	for _, owner := range []string{"a", "b", "c"} {
		s.Give(owner)
	}
	assert.Empty(t, s.by, "nothing is kept of those who have nothing")
}

// post returns a request with a body.
func post(t *testing.T, from, body string, length int64) *http.Request {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
	request.RemoteAddr, request.ContentLength = from+":1", length
	return request
}

func TestABodyIsReadWithinItsLimit(t *testing.T) {
	memory := NewMemory(1 << 20)
	for name, test := range map[string]struct {
		size   int
		length int64
		fits   bool
	}{
		"empty":                        {0, 0, true},
		"short":                        {100, 100, true},
		"as long as the first part":    {firstBody, firstBody, true},
		"as long as the limit":         {300_000, 300_000, true},
		"of an unknown length":         {200_000, -1, true},
		"longer than the limit":        {300_001, 300_001, false},
		"longer than it says":          {300_001, -1, false},
		"says to be longer than it is": {10, 300_001, false},
	} {
		t.Run(name, func(t *testing.T) {
			body := strings.Repeat("a", test.size)
			request := post(t, "10.0.0.1", body, test.length)
			reservation := memory.For(request)
			got, err := reservation.Body(httptest.NewRecorder(), request, 300_000)
			if test.fits {
				require.NoError(t, err)
				assert.Equal(t, body, string(got))
				assert.GreaterOrEqual(t, reservation.held, int64(len(got)))
			} else {
				var tooLarge *http.MaxBytesError
				require.ErrorAs(t, err, &tooLarge)
			}
			reservation.Release()
			assert.True(t, memory.all.TryAcquire(memory.total), "all is released")
			memory.all.Release(memory.total)
			assert.Empty(t, memory.sources)
		})
	}
}

func TestARequestWaitsForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := NewMemory(1000)
		first := memory.For(post(t, "10.0.0.1", "", 0))
		require.NoError(t, first.Grow(t.Context(), 5000), "a request gets all that its client may have")
		assert.Equal(t, int64(500), first.held)

		second := memory.For(post(t, "10.0.0.1", "", 0))
		started := time.Now()
		require.ErrorIs(t, second.Grow(t.Context(), 1), ErrBusy)
		assert.Equal(t, memoryWait, time.Since(started))

		other := memory.For(post(t, "10.0.0.2", "", 0))
		require.NoError(t, other.Grow(t.Context(), 500), "the share of another client")
		third := memory.For(post(t, "10.0.0.3", "", 0))
		require.ErrorIs(t, third.Grow(t.Context(), 1), ErrBusy, "all together have theirs")

		time.AfterFunc(memoryWait/2, first.Release)
		require.NoError(t, second.Grow(t.Context(), 1))
		second.Release()
		third.Release()
		other.Release()
		assert.Empty(t, memory.sources)
	})
}

// A body that arrives slowly uses up what has arrived only.
func TestABodyThatDoesNotArriveTakesNoMemory(t *testing.T) {
	memory := NewMemory(100 << 20)
	reader, writer := io.Pipe()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", reader)
	request.ContentLength = 8 << 20
	reservation := memory.For(request)
	failed := make(chan error, 1)
	go func() {
		_, err := reservation.Body(httptest.NewRecorder(), request, 8<<20)
		failed <- err
	}()
	_, err := io.WriteString(writer, "a")
	require.NoError(t, err)
	require.NoError(t, writer.CloseWithError(io.ErrUnexpectedEOF))
	require.ErrorIs(t, <-failed, io.ErrUnexpectedEOF)
	assert.Equal(t, int64(firstBody+1), reservation.held)
	reservation.Release()
}
