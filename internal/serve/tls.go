package serve

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"

	"k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
)

// secure is the TLS configuration, nil for plain HTTP. Until ctx ends it watches the files of the certificate; a watch
// that fails is told to failed: a server whose certificate is never renewed fails on the day that it runs out, so
// better now.
func (s Server) secure(ctx context.Context, failed chan<- error) (*tls.Config, error) {
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
	go func() {
		if err := watcher.Start(ctx); err != nil {
			failed <- fmt.Errorf("watching certificate %s and key %s: %w", s.CertFile, s.KeyFile, err)
		}
	}()
	return s.tlsConfig(watcher.GetCertificate), nil
}

func (s Server) tlsConfig(certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	config := &tls.Config{}
	if s.TLS != nil {
		config = s.TLS.Clone()
	}
	config.MinVersion = cmp.Or(config.MinVersion, tls.VersionTLS13)
	// Go asks GetCertificate only where there are no Certificates, or where the client names a server.
	config.Certificates = nil
	config.GetCertificate = certificate
	if len(config.NextProtos) == 0 {
		config.NextProtos = []string{"h2", "http/1.1"}
	}
	if s.ClientCAFile != "" {
		s.askClients(config)
	}
	return config
}

// askClients asks every client for a certificate of the authorities that are in the file now. Where the file cannot be
// read, nobody is let in. A session is never resumed: that would let in who was let in before, whatever the authorities
// are now.
func (s Server) askClients(config *tls.Config) {
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
