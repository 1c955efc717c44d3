package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// server is an endpoint that answers each line with its name, and is ready while ready is set.
type server struct {
	endpoint
	listener net.Listener
	ready    atomic.Bool
}

func newServer(t *testing.T, name string) *server {
	t.Helper()
	s := &server{}
	var err error
	s.listener, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.listener.Close() })
	go func() {
		for {
			connection, err := s.listener.Accept()
			if err != nil {
				return
			}
			go func() {
				for lines := bufio.NewScanner(connection); lines.Scan(); {
					fmt.Fprintln(connection, name)
				}
				_ = connection.Close()
			}()
		}
	}()
	health := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !s.ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(health.Close)
	s.address, s.url = s.listener.Addr().String(), health.URL
	return s
}

// start runs the forwarder in front of the servers, and returns its address.
func start(t *testing.T, servers ...*server) (f *forwarder, address string) {
	t.Helper()
	var endpoints []*endpoint
	for _, s := range servers {
		endpoints = append(endpoints, &endpoint{address: s.address, url: s.url})
	}
	f = newForwarder(endpoints)
	for _, e := range endpoints {
		go f.watch(t.Context(), e)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = f.accept(t.Context(), listener) }()
	t.Cleanup(func() { _ = listener.Close() })
	return f, listener.Addr().String()
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	connection, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

// answer sends a line and returns the answer.
func answer(t *testing.T, connection net.Conn) string {
	t.Helper()
	_, err := fmt.Fprintln(connection, "?")
	require.NoError(t, err)
	line := make([]byte, len("one\n"))
	_, err = io.ReadFull(connection, line)
	require.NoError(t, err)
	return string(line[:len(line)-1])
}

// awaitReady returns when the endpoint has the state in the forwarder.
func awaitReady(t *testing.T, e *endpoint, ready bool) {
	t.Helper()
	require.Eventually(t, func() bool { return e.ready.Load() == ready }, time.Minute, time.Millisecond)
}

func TestNewConnectionsGoToAReadyEndpointAndOthersStay(t *testing.T) {
	one, two := newServer(t, "one"), newServer(t, "two")
	one.ready.Store(true)
	f, address := start(t, one, two)
	awaitReady(t, f.endpoints[0], true)
	early := dial(t, address)
	assert.Equal(t, "one", answer(t, early))

	one.ready.Store(false)
	two.ready.Store(true)
	awaitReady(t, f.endpoints[0], false)
	awaitReady(t, f.endpoints[1], true)
	assert.Equal(t, "two", answer(t, dial(t, address)))
	assert.Equal(t, "one", answer(t, early), "a connection stays with its endpoint")
}

func TestConnectionsAreResetWithoutAReadyEndpoint(t *testing.T) {
	f, address := start(t, newServer(t, "one"))
	recorder := httptest.NewRecorder()
	f.readyz(recorder, nil)
	assert.Equal(t, http.StatusServiceUnavailable, recorder.Code)
	connection, err := net.Dial("tcp", address)
	if err == nil { // The reset arrives during the dial or after it.
		defer connection.Close()
		_, err = connection.Read(make([]byte, 1))
	}
	assert.ErrorIs(t, err, syscall.ECONNRESET)
}

func TestReadyzWithAReadyEndpoint(t *testing.T) {
	one := newServer(t, "one")
	one.ready.Store(true)
	f, _ := start(t, one)
	awaitReady(t, f.endpoints[0], true)
	recorder := httptest.NewRecorder()
	f.readyz(recorder, nil)
	assert.Equal(t, http.StatusOK, recorder.Code)
}

func TestEndpointsAreParsed(t *testing.T) {
	endpoints, err := parseEndpoints([]string{"127.0.0.1:1=http://127.0.0.1:2/readyz?verbose=1"})
	require.NoError(t, err)
	require.Len(t, endpoints, 1)
	assert.Equal(t, "127.0.0.1:1", endpoints[0].address)
	assert.Equal(t, "http://127.0.0.1:2/readyz?verbose=1", endpoints[0].url)
	for name, test := range map[string]struct {
		texts []string
		want  string
	}{
		"no endpoint": {nil, "endpoint: must be given at least once"},
		"an endpoint without a URL": {
			[]string{"127.0.0.1:1"}, `endpoint: invalid value "127.0.0.1:1": must be host:port=URL`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseEndpoints(test.texts)
			assert.EqualError(t, err, test.want)
		})
	}
}
