package app

import (
	"crypto/tls"

	"github.com/spillway-k8s/spillway/extender/config"
	"github.com/spillway-k8s/spillway/extender/server"
	"github.com/spillway-k8s/spillway/internal/serve"
)

// listeners returns the servers of the extender.
func listeners(cfg *config.Config, handlers server.Handlers) []serve.Server {
	switch {
	case !cfg.UsesTLS() && cfg.HealthListen == "":
		return []serve.Server{{Address: cfg.Listen, Handler: handlers.Together()}}
	case !cfg.UsesTLS():
		return []serve.Server{
			{Address: cfg.Listen, Handler: handlers.Verbs}, {Address: cfg.HealthListen, Handler: handlers.Health},
		}
	}
	return []serve.Server{{
		Address: cfg.Listen, Handler: handlers.Verbs,
		CertFile: cfg.TLSCertFile, KeyFile: cfg.TLSPrivateKeyFile, ClientCAFile: cfg.ClientCAFile,
		// No HTTP/2: with HTTP/1.1 the scheduler closes a connection on which a response does not arrive, and its next
		// connection reaches the leader.
		TLS: &tls.Config{NextProtos: []string{"http/1.1"}},
	}, {Address: cfg.HealthListen, Handler: handlers.Health}}
}
