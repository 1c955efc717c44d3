// Admission prepares Pods for bursting. A mutating webhook prepares Pods at creation, a validating webhook rejects
// workloads with malformed keys, and controllers handle Pods that wait for a node and Pods that run in the cloud.
// Admission does not schedule Pods.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spillway-k8s/spillway/admission/app"
	"github.com/spillway-k8s/spillway/admission/config"
	loader "github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/internal/tracing"
)

func main() { os.Exit(run.Main(program)) }

// program reads the configuration and runs admission until ctx ends.
func program(ctx context.Context, args []string) error {
	cfg := config.Default()
	if err := loader.Load("admission", args, cfg); err != nil {
		return err
	}
	logger, err := logging.SetUp(cfg.Logging, os.Stderr)
	if err != nil {
		return err
	}
	stopTracing, err := tracing.SetUp(ctx, "admission", logger)
	if err != nil {
		return err
	}
	defer stopTracing()
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("reading the host name: %w", err)
	}
	a, err := app.New(cfg, host, logger)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}
