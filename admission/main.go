// Admission prepares Pods for bursting: a mutating webhook for Pods that are being created, a validating one that refuses workloads
// with malformed keys, and controllers for Pods that wait and those that run in the cloud. It places no Pod.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/run"
)

func main() { os.Exit(run.Main(program)) }

// program reads the configuration and runs until ctx ends.
func program(ctx context.Context, args []string) error {
	cfg := defaultConfig()
	if err := config.Load("admission", args, cfg); err != nil {
		return err
	}
	logger, err := logging.SetUp(cfg.Logging, os.Stderr)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("finding the name of this host: %w", err)
	}
	a, err := newAdmission(cfg, host, logger)
	if err != nil {
		return err
	}
	return a.run(ctx)
}
