package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Period and timeout of readiness probes. Both are shorter than a kubelet's, whose minimum is 1 s.
const (
	probePeriod  = 100 * time.Millisecond
	probeTimeout = 500 * time.Millisecond
)

// endpoint is a server to which connections can be forwarded.
type endpoint struct {
	address, url string
	ready        atomic.Bool
}

type forwarder struct {
	endpoints []*endpoint
	probes    *http.Client
	dialer    net.Dialer
}

func newForwarder(endpoints []*endpoint) *forwarder {
	return &forwarder{
		endpoints: endpoints,
		probes:    &http.Client{Timeout: probeTimeout, Transport: &http.Transport{DisableKeepAlives: true}},
		dialer:    net.Dialer{Timeout: time.Second},
	}
}

// run forwards connections until ctx ends. It then closes existing connections. It blocks.
func (f *forwarder) run(ctx context.Context, listen, health string) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, e := range f.endpoints {
		group.Go(func() error { f.watch(ctx, e); return nil })
	}
	for address, serve := range map[string]func(net.Listener) error{
		listen: func(l net.Listener) error { return f.accept(ctx, l) },
		health: func(l net.Listener) error { return http.Serve(l, http.HandlerFunc(f.readyz)) },
	} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("listening on %q: %w", address, err)
		}
		defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
		group.Go(func() error {
			err := serve(listener)
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("serving on %s: %w", address, err)
		})
	}
	return group.Wait()
}

// watch probes an endpoint periodically.
func (f *forwarder) watch(ctx context.Context, e *endpoint) {
	ticker := time.NewTicker(probePeriod)
	defer ticker.Stop()
	for {
		if ready := f.probe(ctx, e); e.ready.Swap(ready) != ready {
			fmt.Printf("%s %s ready: %t\n", time.Now().Format(time.RFC3339Nano), e.address, ready)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (f *forwarder) probe(ctx context.Context, e *endpoint) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url, nil)
	if err != nil {
		return false
	}
	response, err := f.probes.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// pick returns an endpoint that is ready, or nil.
func (f *forwarder) pick() *endpoint {
	for _, e := range f.endpoints {
		if e.ready.Load() {
			return e
		}
	}
	return nil
}

func (f *forwarder) readyz(w http.ResponseWriter, _ *http.Request) {
	if f.pick() == nil {
		http.Error(w, "no endpoint is ready", http.StatusServiceUnavailable)
	}
}

func (f *forwarder) accept(ctx context.Context, listener net.Listener) error {
	for {
		client, err := listener.Accept()
		if err != nil {
			return fmt.Errorf("accepting connections: %w", err)
		}
		go func() {
			if err := f.forward(ctx, client); err != nil {
				fmt.Println(err)
			}
		}()
	}
}

// forward connects the client to an endpoint. If none is ready it resets the connection, which is the closest that a
// listener can come to refusing it.
func (f *forwarder) forward(ctx context.Context, client net.Conn) error {
	defer client.Close()
	e := f.pick()
	if e == nil {
		if tcp, ok := client.(*net.TCPConn); ok {
			return tcp.SetLinger(0)
		}
		return nil
	}
	server, err := f.dialer.DialContext(ctx, "tcp", e.address)
	if err != nil {
		return fmt.Errorf("dialing %s: %w", e.address, err)
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() { _, _ = client.Close(), server.Close() })()
	join(client, server)
	return nil
}

// join copies data in both directions until either side ends.
func join(a, b net.Conn) {
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // Any end, also by an error, ends both directions.
			_, _ = a.Close(), b.Close()
		})
	}
	both.Wait()
}
