package app

import (
	"crypto/tls"

	"github.com/spillway-k8s/spillway/extender/config"
	"github.com/spillway-k8s/spillway/extender/server"
	"github.com/spillway-k8s/spillway/internal/serve"
)

// listeners returns the servers of the extender.
func listeners(cfg *config.Config, handlers server.Handlers, rejections *serve.Rejections) []serve.Server {
	verbs := serve.Server{Name: "verbs", Rejections: rejections, Address: cfg.Listen, Handler: handlers.Verbs}
	health := serve.Server{Name: "health", Rejections: rejections, Address: cfg.HealthListen, Handler: handlers.Health}
	switch {
	case !cfg.UsesTLS() && cfg.HealthListen == "":
		verbs.Handler = handlers.Together()
		return []serve.Server{verbs}
	case !cfg.UsesTLS():
		return []serve.Server{verbs, health}
	}
	verbs.CertFile, verbs.KeyFile, verbs.ClientCAFile = cfg.TLSCertFile, cfg.TLSPrivateKeyFile, cfg.ClientCAFile
	// No HTTP/2: with HTTP/1.1 the scheduler closes a connection on which a response does not arrive, and its next
	// connection reaches the leader.
	verbs.TLS = &tls.Config{NextProtos: []string{"http/1.1"}}
	return []serve.Server{verbs, health}
}
