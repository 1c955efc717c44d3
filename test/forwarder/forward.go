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

// How often an endpoint is asked whether it is ready, and how long it may take to say so: sooner than a kubelet, whose shortest is 1 s.
const (
	probePeriod  = 100 * time.Millisecond
	probeTimeout = 500 * time.Millisecond
)

// endpoint is one place that connections can go to.
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

// run forwards until ctx ends; connections that stand are cut then. It blocks.
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

// watch asks an endpoint again and again whether it is ready.
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

// pick is an endpoint that is ready, nil where none is.
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

// forward joins the client to an endpoint. Without one the connection is reset, as near to refusing it as a listener can come.
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

// join copies both ways until either side ends.
func join(a, b net.Conn) {
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // Cut or ended, it is the end of both.
			_, _ = a.Close(), b.Close()
		})
	}
	both.Wait()
}
