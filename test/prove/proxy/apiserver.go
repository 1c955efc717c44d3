package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/spillway-k8s/spillway/test/prove/record"
)

// APIServer passes the requests of one client on to the API server.
type APIServer struct {
	listener   net.Listener
	kubeconfig string
	log        *record.Log
	logger     *slog.Logger

	mu      sync.Mutex
	forward *httputil.ReverseProxy
	// watches contains the function that ends each open watch.
	watches map[*http.Request]context.CancelFunc
	// While expired is set, watches that resume from a version get 410 Gone.
	expired bool
	// stalled is closed when watches deliver again. It is nil while they deliver.
	stalled chan struct{}
	// lateness is the delay of what watches deliver.
	lateness time.Duration
	// binds is the fault of requests to bind a Pod, until bindsHealed is closed.
	binds          BindFault
	bindFaultEnded chan struct{}
	late           sync.WaitGroup
}

// ListenAPIServer opens a port on loopback. Requests wait until Run serves them. The kubeconfig, which may be created
// later, contains the address of the API server. Clients authenticate with their own credentials.
func ListenAPIServer(kubeconfig string, log *record.Log, logger *slog.Logger) (*APIServer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for a client of the API server: %w", err)
	}
	return &APIServer{
		listener: listener, kubeconfig: kubeconfig, log: log, logger: logger, watches: map[*http.Request]context.CancelFunc{},
	}, nil
}

// URL returns the URL of the API server for the client.
func (p *APIServer) URL() string { return "https://" + p.listener.Addr().String() }

// reach returns the reverse proxy. It is created with the first request.
func (p *APIServer) reach() (*httputil.ReverseProxy, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.forward != nil {
		return p.forward, nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", p.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		return nil, fmt.Errorf("reading the URL of the API server: %w", err)
	}
	transport, err := rest.TransportFor(rest.AnonymousClientConfig(config))
	if err != nil {
		return nil, fmt.Errorf("creating the transport to the API server: %w", err)
	}
	p.forward = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(p.logger.Handler(), slog.LevelDebug),
		ModifyResponse: func(response *http.Response) error {
			if isWatch(response.Request) {
				response.Body = &watchBody{ReadCloser: response.Body, ctx: response.Request.Context(), proxy: p}
			}
			return nil
		},
		// If the API server does not answer, the client loses its connection.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	return p.forward, nil
}

// Run serves until ctx ends, with the certificate of the files, which may be created later. It blocks.
func (p *APIServer) Run(ctx context.Context, certFile, keyFile string) error {
	server := &http.Server{
		Handler: p, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(p.logger.Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
				if err != nil {
					return nil, fmt.Errorf("loading the certificate of the proxy: %w", err)
				}
				return &certificate, nil
			},
		},
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	err := server.ServeTLS(p.listener, "", "")
	p.late.Wait()
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving a client of the API server: %w", err)
}

// ServeHTTP implements http.Handler.
func (p *APIServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	forward, err := p.reach()
	switch {
	case err != nil:
		p.logger.Warn("cannot reach the API server", "err", err)
		panic(http.ErrAbortHandler)
	case isWatch(r):
		p.watch(forward, w, r)
	case isBind(r):
		p.bind(forward, w, r)
	default:
		forward.ServeHTTP(w, r)
	}
}
