// The extender extends a stock kube-scheduler. For Pods that have a local quota or a burst label, it decides whether
// they run on local nodes or in the cloud, and it keeps local quotas exactly. See docs/extender.md.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spillway-k8s/spillway/extender/app"
	extenderconfig "github.com/spillway-k8s/spillway/extender/config"
	"github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/internal/tracing"
)

func main() { os.Exit(run.Main(program)) }

func program(ctx context.Context, args []string) error {
	cfg := extenderconfig.Default()
	if err := config.Load("extender", args, cfg); err != nil {
		return err
	}
	logger, err := logging.SetUp(cfg.Logging, os.Stderr)
	if err != nil {
		return err
	}
	stopTracing, err := tracing.SetUp(ctx, "extender", logger)
	if err != nil {
		return err
	}
	defer stopTracing()
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("reading the host name: %w", err)
	}
	cluster, err := cfg.Kube.REST("extender")
	if err != nil {
		return err
	}
	clients, err := app.NewClients(cluster)
	if err != nil {
		return err
	}
	extender, err := app.New(cfg, clients, hostname, logger)
	if err != nil {
		return err
	}
	return extender.Run(ctx)
}
