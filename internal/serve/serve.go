// Package serve runs HTTP servers with time-outs, certificates that are read again when their files change, and a
// graceful end.
package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// shutdownTimeout is how long a server waits for requests under way when it is asked to end.
const shutdownTimeout = 5 * time.Second

// Server is one listener and what it serves.
type Server struct {
	// Address is host:port.
	Address string
	// Handler answers.
	Handler http.Handler
	// CertFile and KeyFile turn on TLS: both, or none for plain HTTP. They are read again when they change.
	CertFile, KeyFile string
	// GetCertificate turns on TLS in place of the files: it is asked at every handshake and must not block.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// ClientCAFile, where it is set, lets in only clients with a certificate of this authority, PEM: others fail in the
	// handshake. It is read at every handshake. It needs TLS.
	ClientCAFile string
	// TLS is the base of the TLS configuration, nil for none. Without a MinVersion it is TLS 1.3, without NextProtos it
	// offers HTTP/2 before HTTP/1.1; Certificates in it are replaced.
	TLS *tls.Config
	// Streaming lifts the write time-out, for handlers that follow logs.
	Streaming bool
}

// Run listens and serves until ctx ends, then finishes the requests under way, for 5 s at most. It blocks.
func (s Server) Run(ctx context.Context) error {
	if (s.CertFile == "") != (s.KeyFile == "") {
		return fmt.Errorf("serving on %s: certificate %q and key %q: must both be files, or both be empty for plain HTTP", s.Address, s.CertFile, s.KeyFile)
	}
	if s.CertFile != "" && s.GetCertificate != nil {
		return fmt.Errorf("serving on %s: the certificate must come from files or from a function, not from both", s.Address)
	}
	if s.ClientCAFile != "" && s.CertFile == "" && s.GetCertificate == nil {
		return fmt.Errorf("serving on %s: the authority of clients %s needs a certificate and a key of the server", s.Address, s.ClientCAFile)
	}
	listener, err := net.Listen("tcp", s.Address)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", s.Address, err)
	}
	return s.serve(ctx, listener)
}

// serve owns the listener.
func (s Server) serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           s.Handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       10 * time.Minute,
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	if s.Streaming {
		server.ReadTimeout, server.WriteTimeout = 0, 0
	}
	failed := make(chan error, 2)
	config, err := s.secure(ctx, failed)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	if config != nil {
		server.TLSConfig = config
		listener = tls.NewListener(listener, config)
	}
	go func() { failed <- fmt.Errorf("serving on %s: %w", listener.Addr(), server.Serve(listener)) }()
	select {
	case err := <-failed:
		if ctx.Err() == nil {
			return errors.Join(err, server.Close())
		}
	case <-ctx.Done():
	}
	return end(ctx, server)
}

// end finishes the requests under way and cuts what does not finish: streams do not end by themselves.
func end(ctx context.Context, server *http.Server) error {
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return server.Close()
	}
	return nil
}
