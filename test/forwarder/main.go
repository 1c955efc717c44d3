// Command forwarder takes the place of a Kubernetes Service in a trial system. It forwards new connections to an
// endpoint that is ready. Like kube-proxy, it leaves existing connections with their endpoint, and does not read their
// data.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "forwarder: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var listen, health string
	var texts []string
	flags := pflag.NewFlagSet("forwarder", pflag.ContinueOnError)
	flags.StringVar(&listen, "listen", "", "`host:port` for clients")
	flags.StringVar(&health, "health-listen", "", "`host:port` of /readyz, which returns 200 while an endpoint is ready")
	flags.StringArrayVar(&texts, "endpoint", nil,
		"`host:port=URL` of an endpoint, which is ready while the URL returns 200; can be repeated")
	if err := flags.Parse(args); err != nil {
		return err
	}
	endpoints, err := parseEndpoints(texts)
	if err != nil {
		return err
	}
	return newForwarder(endpoints).run(ctx, listen, health)
}

func parseEndpoints(texts []string) ([]*endpoint, error) {
	if len(texts) == 0 {
		return nil, errors.New("endpoint: must be given at least once")
	}
	var endpoints []*endpoint
	for _, text := range texts {
		address, url, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("endpoint: invalid value %q: must be host:port=URL", text)
		}
		endpoints = append(endpoints, &endpoint{address: address, url: url})
	}
	return endpoints, nil
}
