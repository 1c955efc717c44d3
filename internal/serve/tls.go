package serve

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"sync"

	"k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
)

// secure returns the TLS configuration, nil for plain HTTP. It watches the files of the certificate in the group until
// ctx ends. If the watch fails, it sends the error to failed: without the watch the server would fail later, when its
// certificate expires.
func (s Server) secure(ctx context.Context, group *sync.WaitGroup, failed chan<- error) (*tls.Config, error) {
	if s.ClientCAFile != "" {
		if _, err := cert.NewPool(s.ClientCAFile); err != nil {
			return nil, fmt.Errorf("reading the authority of clients %s: %w", s.ClientCAFile, err)
		}
	}
	if s.GetCertificate != nil {
		return s.tlsConfig(s.GetCertificate), nil
	}
	if s.CertFile == "" {
		return nil, nil
	}
	watcher, err := certwatcher.New(s.CertFile, s.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading certificate %s and key %s: %w", s.CertFile, s.KeyFile, err)
	}
	group.Go(func() {
		if err := watcher.Start(ctx); err != nil {
			failed <- fmt.Errorf("watching certificate %s and key %s: %w", s.CertFile, s.KeyFile, err)
		}
	})
	return s.tlsConfig(watcher.GetCertificate), nil
}

func (s Server) tlsConfig(certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	config := &tls.Config{}
	if s.TLS != nil {
		config = s.TLS.Clone()
	}
	config.MinVersion = cmp.Or(config.MinVersion, tls.VersionTLS13)
	// Go calls GetCertificate only if there are no Certificates, or if the client sends a server name.
	config.Certificates = nil
	config.GetCertificate = certificate
	if len(config.NextProtos) == 0 {
		config.NextProtos = []string{"h2", "http/1.1"}
	}
	if s.ClientCAFile != "" {
		s.requireClientCertificates(config)
	}
	return config
}

// requireClientCertificates requires a certificate of one of the authorities in the file from every client. If the file
// cannot be read, all clients are rejected. Sessions are never resumed: that would accept a client whose authority has
// been removed from the file.
func (s Server) requireClientCertificates(config *tls.Config) {
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.SessionTicketsDisabled = true
	base := config.Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		authorities, err := cert.NewPool(s.ClientCAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the authority of clients %s: %w", s.ClientCAFile, err)
		}
		present := base.Clone()
		present.ClientCAs = authorities
		return present, nil
	}
}
