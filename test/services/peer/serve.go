package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

// Answer is the answer to an HTTP request and to a UDP packet.
type Answer struct {
	// Host is the host name of the server, which is the name of its Pod.
	Host string `json:"host"`
	// From is the address of the client, as the server sees it.
	From string `json:"from"`
}

// server is what Run serves.
type server struct {
	// Addresses, empty for none.
	http, tcp, udp string
	// drain is how long to serve after SIGTERM: others may not know yet that the Pod ends.
	drain time.Duration
}

// run serves until ctx ends and drain is over.
func (s server) run(ctx context.Context, out io.Writer) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("reading the host name: %w", err)
	}
	group, ending := errgroup.WithContext(drained(ctx, s.drain))
	if s.http != "" {
		listener, err := net.Listen("tcp", s.http)
		if err != nil {
			return fmt.Errorf("listening for HTTP: %w", err)
		}
		group.Go(func() error { return serveHTTP(ctx, ending, listener, host) })
	}
	if s.tcp != "" {
		listener, err := net.Listen("tcp", s.tcp)
		if err != nil {
			return fmt.Errorf("listening for TCP: %w", err)
		}
		group.Go(func() error { return echo(ending, listener) })
	}
	if s.udp != "" {
		listener, err := net.ListenPacket("udp", s.udp)
		if err != nil {
			return fmt.Errorf("listening for UDP: %w", err)
		}
		group.Go(func() error { return answerPackets(ending, listener, host) })
	}
	group.Go(func() error { <-ending.Done(); return nil }) // Without an address it only waits.
	fmt.Fprintln(out, "serving")
	return group.Wait()
}

// drained returns a context that ends a time after ctx.
func drained(ctx context.Context, after time.Duration) context.Context {
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() { time.AfterFunc(after, cancel) })
	return later
}

// serveHTTP answers requests. When ctx ends, /ready fails, and connections are not kept open. When ending ends, open
// requests are answered, and no more.
func serveHTTP(ctx, ending context.Context, listener net.Listener, host string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/ready", func(w http.ResponseWriter, _ *http.Request) {
		if ctx.Err() != nil {
			http.Error(w, "ending", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/stream", stream)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if ctx.Err() != nil {
			w.Header().Set("Connection", "close")
		}
		_ = json.NewEncoder(w).Encode(Answer{Host: host, From: r.RemoteAddr}) // The client may be gone.
	})
	serving := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	stopped := make(chan error, 1)
	context.AfterFunc(ending, func() { stopped <- serving.Shutdown(context.Background()) })
	if err := serving.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving HTTP: %w", err)
	}
	return <-stopped
}

// echo sends back what it receives, until the client closes its side.
func echo(ctx context.Context, listener net.Listener) error {
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	for {
		connection, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accepting a connection: %w", err)
		}
		go func() {
			defer connection.Close()
			_, _ = io.Copy(connection, connection) // The client may be gone.
		}()
	}
}

// answerPackets answers each packet with an Answer.
func answerPackets(ctx context.Context, listener net.PacketConn, host string) error {
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	for buffer := make([]byte, 1500); ; {
		_, from, err := listener.ReadFrom(buffer)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading a packet: %w", err)
		}
		answer, err := json.Marshal(Answer{Host: host, From: from.String()})
		if err != nil {
			return fmt.Errorf("encoding an answer: %w", err)
		}
		_, _ = listener.WriteTo(answer, from) // The client asks again.
	}
}
