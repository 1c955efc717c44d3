// Workload is the program of containers on the real nodes of tests. Its name determines what it does:
//
//	server   answers HTTP requests on port 80 with the name of the Pod
//	pause    does nothing, for the container that holds a Pod's namespaces
//	perl     prints a line and ends, as a Job that computes does
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, filepath.Base(os.Args[0])); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, as string) error {
	switch as {
	case "server":
		listener, err := net.Listen("tcp", ":80")
		if err != nil {
			return fmt.Errorf("listening: %w", err)
		}
		return serve(ctx, listener)
	case "pause":
		<-ctx.Done()
		return nil
	case "perl":
		fmt.Println("3.14159265358979323846")
		return nil
	}
	return fmt.Errorf("started as %q: must be server, pause or perl", as)
}

func serve(ctx context.Context, listener net.Listener) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("reading the host name: %w", err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, host)
	})
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: handler}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	fmt.Println("serving on", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}
