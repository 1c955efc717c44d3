// Package serve runs HTTP servers with timeouts and limits, certificates that are reloaded when their files change, and
// a graceful shutdown.
package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// shutdownTimeout is how long a server waits for active requests when it shuts down.
const shutdownTimeout = 5 * time.Second

// Server is one listener and its handler.
type Server struct {
	// Name is the name of the server in the metric of Rejections.
	Name string
	// Rejections counts what the server rejects. Optional.
	Rejections *Rejections
	// Address is host:port.
	Address string
	// Handler handles the requests.
	Handler http.Handler
	// CertFile and KeyFile enable TLS. Set both, or none for plain HTTP. The files are reloaded when they change.
	CertFile, KeyFile string
	// GetCertificate enables TLS instead of the files. It is called at every handshake and must not block.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// ClientCAFile is a PEM file. If it is set, only clients with a certificate of one of its authorities can connect. It
	// is read at every handshake. It needs TLS.
	ClientCAFile string
	// TLS is the base of the TLS configuration. Optional. MinVersion defaults to TLS 1.3, NextProtos to HTTP/2 and
	// HTTP/1.1. Certificates are replaced.
	TLS *tls.Config
	// ErrorLog gets what goes wrong with connections, such as TLS handshakes. Optional: then the log of the program.
	ErrorLog *log.Logger
	// Limits replaces the limits of connections and requests. Optional.
	Limits Limits
	// Streaming removes the limit of the time of a response, for handlers that follow logs. The time of a request's header
	// and body stays limited.
	Streaming bool
	// Listening is called when the port is open. Optional.
	Listening func()
}

// ValidateAddress returns an error unless a value of the configuration is host:port. The host may be empty. example is
// what the message shows, such as ":8081".
func ValidateAddress(path *field.Path, value, example string) field.ErrorList {
	if _, port, err := net.SplitHostPort(value); err != nil || port == "" {
		return field.ErrorList{field.Invalid(path, value, "must be host:port, such as "+example)}
	}
	return nil
}

// Run serves until ctx ends, then waits for active requests, for 5 s at most. It blocks.
func (s Server) Run(ctx context.Context) error {
	if (s.CertFile == "") != (s.KeyFile == "") {
		return fmt.Errorf("serving on %s: certificate %q and key %q: must both be files, or both be empty for plain HTTP",
			s.Address, s.CertFile, s.KeyFile)
	}
	if s.CertFile != "" && s.GetCertificate != nil {
		return fmt.Errorf("serving on %s: the certificate must come from files or from a function, not from both", s.Address)
	}
	if s.ClientCAFile != "" && s.CertFile == "" && s.GetCertificate == nil {
		return fmt.Errorf("serving on %s: the authority of clients %s needs a certificate and a key of the server",
			s.Address, s.ClientCAFile)
	}
	listener, err := net.Listen("tcp", s.Address)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", s.Address, err)
	}
	if s.Listening != nil {
		s.Listening()
	}
	return s.serve(ctx, listener)
}

// serve serves on a listener, which it closes.
func (s Server) serve(ctx context.Context, listener net.Listener) error {
	s.Rejections.start(s.Name)
	server := s.httpServer()
	server.BaseContext = func(net.Listener) context.Context { return context.WithoutCancel(ctx) }
	listener = s.limitConnections(listener)
	var watches sync.WaitGroup
	defer watches.Wait() // Run leaves nothing running.
	ctx, stopWatches := context.WithCancel(ctx)
	defer stopWatches()
	failed := make(chan error, 2)
	config, err := s.secure(ctx, &watches, failed)
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
	return shutDown(ctx, server)
}

// shutDown waits for active requests, and closes the connections of those that do not finish, such as streams.
func shutDown(ctx context.Context, server *http.Server) error {
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return server.Close()
	}
	return nil
}
