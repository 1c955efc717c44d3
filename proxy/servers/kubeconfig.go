package servers

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// read reads the kubeconfig again if it has changed. The lock must be held.
func (s *Servers) read() error {
	content, err := os.ReadFile(s.kubeconfig)
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	if string(content) == s.content {
		return nil
	}
	contexts, err := parse(content)
	if err != nil {
		return fmt.Errorf("reading the kubeconfig %s: %w", s.kubeconfig, err)
	}
	s.contexts, s.content = contexts, string(content)
	return nil
}

// parse returns the server of each context, that of the current one first.
func parse(content []byte) ([]server, error) {
	config, err := clientcmd.Load(content)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(config.Contexts))
	if i := slices.Index(names, config.CurrentContext); i > 0 {
		names = slices.Insert(slices.Delete(names, i, i+1), 0, config.CurrentContext)
	}
	var found []server
	for _, name := range names {
		connection, err := clientcmd.NewNonInteractiveClientConfig(*config, name, nil, nil).ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("context %q: %w", name, err)
		}
		one, err := newServer(connection)
		if err != nil {
			return nil, fmt.Errorf("context %q: %w", name, err)
		}
		found = append(found, one)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("contexts: there is none, and each is the address of a server")
	}
	return found, nil
}

// Limits of a connection. Two streams of small events need no large windows, and a server that is gone must be noticed:
// a Pod that no event reaches goes on with endpoints that do not exist any more.
const (
	connectTimeout = 5 * time.Second
	headerTimeout  = 30 * time.Second
	pingInterval   = 30 * time.Second
	pingTimeout    = 15 * time.Second
	streamWindow   = 256 << 10
)

func newServer(connection *rest.Config) (server, error) {
	address, err := url.Parse(connection.Host)
	if err != nil || address.Scheme != "https" || address.Host == "" {
		return server{}, fmt.Errorf("server: invalid value %q: must be https://HOST:PORT", connection.Host)
	}
	connection.UserAgent = "spillway-proxy"
	tlsConfig, err := rest.TLSConfigFor(connection)
	if err != nil {
		return server{}, err
	}
	transport, err := rest.HTTPWrappersForConfig(connection, &http.Transport{
		DialContext:           (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSClientConfig:       tlsConfig,
		TLSHandshakeTimeout:   connectTimeout,
		ResponseHeaderTimeout: headerTimeout,
		IdleConnTimeout:       time.Minute,
		ForceAttemptHTTP2:     true,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: pingInterval, PingTimeout: pingTimeout,
			MaxReceiveBufferPerStream: streamWindow, MaxReceiveBufferPerConnection: 2 * streamWindow,
		},
	})
	if err != nil {
		return server{}, err
	}
	return server{name: address.Host, url: address, transport: transport}, nil
}
