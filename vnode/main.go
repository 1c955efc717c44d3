// Vnode runs virtual nodes: kubelets for the cloud. A virtual node runs the Pods that are scheduled to it in CCI,
// Huawei Cloud's serverless container service. See docs/vnode.md.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	// Root certificates for the connection to the cloud: an image that holds only this program has none.
	_ "golang.org/x/crypto/x509roots/fallback"

	loader "github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/internal/tracing"
	"github.com/spillway-k8s/spillway/vnode/cleanup"
	"github.com/spillway-k8s/spillway/vnode/config"
	"github.com/spillway-k8s/spillway/vnode/doctor"
	"github.com/spillway-k8s/spillway/vnode/host"
)

func main() { os.Exit(run.Main(program)) }

// program runs the subcommand that args begin with, or else the virtual nodes, until ctx ends. "gc" deletes what the
// cluster left in the cloud. "uninstall" deletes everything that Spillway created. "doctor" checks the account.
func program(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "gc":
			return cleanup.GC(ctx, args[1:], os.Stdout, setUpLogging)
		case "uninstall":
			return cleanup.Uninstall(ctx, args[1:], os.Stdout, setUpLogging)
		case "doctor":
			return doctor.Command(ctx, args[1:], os.Stdout, os.Stderr, setUpLogging)
		}
	}
	cfg := config.Default()
	if err := loader.Load("vnode", args, cfg); err != nil {
		return err
	}
	logger, err := setUpLogging(cfg.Logging)
	if err != nil {
		return err
	}
	stopTracing, err := tracing.SetUp(ctx, "vnode", logger)
	if err != nil {
		return err
	}
	defer stopTracing()
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("reading the host name: %w", err)
	}
	h, err := host.New(cfg, hostname, logger)
	if err != nil {
		return err
	}
	return h.Run(ctx)
}

// setUpLogging writes logs to stderr: the subcommands print their results to stdout.
func setUpLogging(c logging.Config) (*slog.Logger, error) { return logging.SetUp(c, os.Stderr) }
