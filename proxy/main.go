// The proxy runs next to the containers of a Pod in the cloud, and carries their connections to the Services of the
// cluster, whose addresses do not exist in the cloud. See docs/proxy.md.
package main

import (
	"context"
	"os"
	"runtime/debug"

	loader "github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/proxy/app"
	"github.com/spillway-k8s/spillway/proxy/config"
	"github.com/spillway-k8s/spillway/proxy/dns"
)

func main() { os.Exit(run.Main(program)) }

// program runs the proxy until ctx ends. "check" succeeds if a running proxy answers and knows Services.
func program(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "check" {
		cfg := config.DefaultCheck()
		if err := loader.Load("proxy check", args[1:], cfg); err != nil {
			return err
		}
		return dns.Check(ctx, cfg.DNSAddress)
	}
	cfg := config.Default()
	if err := loader.Load("proxy", args, cfg); err != nil {
		return err
	}
	logger, err := logging.SetUp(cfg.Logging, os.Stderr)
	if err != nil {
		return err
	}
	// Memory matters more than processor time: there is a proxy in each Pod, and changes are few. A fixed limit of the
	// heap would be too low for some cluster, and then the collector never stops.
	debug.SetGCPercent(50)
	return app.New(cfg, logger).Run(ctx)
}
