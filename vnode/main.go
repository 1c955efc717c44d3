// Vnode is a virtual node: a kubelet for the cloud. Pods that the scheduler places on it run in CCI, Huawei Cloud's serverless container
// service. See docs/vnode.md.
package main

import (
	"context"
	"log/slog"
	"os"

	_ "golang.org/x/crypto/x509roots/fallback" // Roots for the cloud's certificates where the system has none: in an image of this program alone.

	"github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/run"
)

func main() { os.Exit(run.Main(program)) }

// program reads the configuration and runs until ctx ends. "gc" as the first word removes what is left in the cloud, "uninstall" all that
// Spillway has made.
func program(ctx context.Context, args []string) error {
	toStderr := func(c logging.Config) (*slog.Logger, error) { return logging.SetUp(c, os.Stderr) }
	switch {
	case len(args) > 0 && args[0] == "gc":
		return collect(ctx, args[1:], os.Stdout, toStderr)
	case len(args) > 0 && args[0] == "uninstall":
		return leave(ctx, args[1:], os.Stdout, toStderr)
	}
	cfg := defaultConfig()
	if err := config.Load("vnode", args, cfg); err != nil {
		return err
	}
	logger, err := toStderr(cfg.Logging)
	if err != nil {
		return err
	}
	v, err := newVNode(cfg, logger)
	if err != nil {
		return err
	}
	return v.run(ctx)
}
