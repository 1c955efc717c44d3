package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/serve"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/ccisim/replay"
	"github.com/spillway-k8s/spillway/vnode/doctor/transcript"
)

func program(ctx context.Context, args []string) error {
	cfg := defaultConfig()
	if err := config.Load("ccisim", args, cfg); err != nil {
		return err
	}
	logger, err := logging.SetUp(cfg.Logging, os.Stderr)
	if err != nil {
		return err
	}
	if cfg.Replay != "" {
		return serveReplay(ctx, cfg, logger)
	}
	if cfg.PoliciesFrom != "" {
		exchanges, err := transcript.ReadFile(cfg.PoliciesFrom)
		if err != nil {
			return err
		}
		cfg.Policies = replay.Policies(exchanges)
		logger.Info("taking the policies of a transcript", "transcript", cfg.PoliciesFrom, "policies", cfg.Policies,
			"missingChecks", replay.Missing(exchanges))
	}
	sim, err := newSim(cfg, logger)
	if err != nil {
		return err
	}
	logger.Info("starting", "listen", cfg.Listen, "stateFile", cfg.StateFile)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return sim.Run(ctx) })
	handler := sim.Handler()
	if cfg.ControlListen != "" {
		handler = sim.ServiceHandler()
		group.Go(func() error {
			return serve.Server{Address: cfg.ControlListen, Handler: sim.ControlHandler()}.Run(ctx)
		})
	}
	group.Go(func() error {
		return serve.Server{
			Address: cfg.Listen, Handler: handler, CertFile: cfg.TLSCertFile, KeyFile: cfg.TLSPrivateKeyFile,
			Streaming: true,
		}.Run(ctx)
	})
	return errors.Join(group.Wait(), sim.Close())
}

// serveReplay serves the answers of a transcript until ctx ends.
func serveReplay(ctx context.Context, cfg *Config, logger *slog.Logger) error {
	exchanges, err := transcript.ReadFile(cfg.Replay)
	if err != nil {
		return err
	}
	logger.Info("replaying", "listen", cfg.Listen, "transcript", cfg.Replay, "answers", len(exchanges))
	return serve.Server{
		Address: cfg.Listen, Handler: replay.Handler(exchanges), CertFile: cfg.TLSCertFile, KeyFile: cfg.TLSPrivateKeyFile,
		Streaming: true,
	}.Run(ctx)
}

func newSim(cfg *Config, logger *slog.Logger) (*ccisim.Sim, error) {
	credentials, err := ccisim.LoadCredentials(cfg.CredentialsFile)
	if err != nil {
		return nil, err
	}
	for i := range credentials {
		credentials[i].ProjectID = cmp.Or(credentials[i].ProjectID, cfg.ProjectID)
		credentials[i].DomainID = cmp.Or(credentials[i].DomainID, cfg.DomainID)
	}
	return ccisim.New(ccisim.Config{
		Credentials: credentials,
		Logger:      logger,
		StateFile:   cfg.StateFile,
		SubnetCIDR:  cfg.SubnetCIDR,
		Subnets:     cfg.Subnets,
		StartDelay:  cfg.StartDelay.Duration,
		RunTime:     cfg.RunTime.Duration,
		ExecIdle:    cfg.ExecIdle.Duration,
		Processes:   cfg.Processes,
		Networks:    cfg.Networks,
		Routes:      cfg.Routes,
		Images:      cfg.ProcessImages,
		Exporters:   cfg.Exporters,
		Policies:    cfg.Policies,
	})
}
