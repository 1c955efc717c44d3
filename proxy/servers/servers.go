// Package servers finds a process of vnode that serves Services to this Pod. Several processes may have an address in
// the kubeconfig, but only the one that runs the node of the Pod answers its requests.
package servers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

const (
	// firstDelay is how long a client waits after it has tried all servers once. Each delay is twice as long as the one
	// before, up to maxDelay, and a random part is added: thousands of Pods may have lost the same server.
	firstDelay = 500 * time.Millisecond
	maxDelay   = 15 * time.Second
	// repeat is how often the same failure is logged.
	repeat = 5 * time.Minute
)

// Servers is a transport for the requests of client-go. It sends each to the server that answered last, and tries all
// others as long as none answers. A request does not fail because servers are away: it waits.
type Servers struct {
	kubeconfig string
	// discovered returns further addresses of servers.
	discovered func() []netip.AddrPort
	logger     *slog.Logger

	mu sync.Mutex
	// contexts are those of the kubeconfig, read from content.
	contexts []server
	content  string
	// last is the name of the server that answered last.
	last string
	// failure is why no server answers, nil while one does. It was logged at loggedAt.
	failure  error
	loggedAt time.Time
}

// server is one address with the credentials for it.
type server struct {
	// name is the address, for logs.
	name      string
	url       *url.URL
	transport http.RoundTripper
}

// New returns Servers. discovered may return nothing.
func New(kubeconfig string, discovered func() []netip.AddrPort, logger *slog.Logger) *Servers {
	return &Servers{kubeconfig: kubeconfig, discovered: discovered, logger: logger}
}

// Failure returns why no server answers, or nil.
func (s *Servers) Failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// RoundTrip implements http.RoundTripper.
func (s *Servers) RoundTrip(request *http.Request) (*http.Response, error) {
	for delay := firstDelay; ; delay = min(2*delay, maxDelay) {
		response, err := s.tryAll(request)
		if err == nil {
			return response, nil
		}
		select {
		case <-request.Context().Done():
			return nil, request.Context().Err()
		case <-time.After(delay + rand.N(delay)):
		}
	}
}

// tryAll sends the request to one server after the other, until one answers.
func (s *Servers) tryAll(request *http.Request) (*http.Response, error) {
	all, err := s.list()
	errs := []error{err} // nil is left out at the end.
	for _, one := range all {
		response, err := one.send(request)
		if err == nil {
			s.succeeded(one)
			return response, nil
		}
		if request.Context().Err() != nil {
			return nil, err
		}
		errs = append(errs, fmt.Errorf("%s: %w", one.name, err))
	}
	err = utilerrors.NewAggregate(errs)
	s.failed(err)
	return nil, err
}

// list returns the servers in the order in which they are tried: the one that answered last, those of the kubeconfig,
// and those that are discovered.
func (s *Servers) list() ([]server, error) {
	discovered := s.discovered()
	s.mu.Lock()
	defer s.mu.Unlock()
	// If the file cannot be read, the servers that it had before are tried.
	err := s.read()
	all := slices.Clone(s.contexts)
	for _, address := range discovered {
		if len(s.contexts) == 0 {
			break
		}
		found := s.contexts[0]
		found.name = address.String()
		found.url = &url.URL{Scheme: found.url.Scheme, Host: address.String()}
		if index(all, found.name) < 0 {
			all = append(all, found)
		}
	}
	if i := index(all, s.last); i > 0 {
		all[0], all[i] = all[i], all[0]
	}
	return all, err
}

func index(all []server, name string) int {
	return slices.IndexFunc(all, func(one server) bool { return one.name == name })
}

func (s *Servers) succeeded(by server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil || s.last != by.name {
		s.logger.Info("Services are followed", "address", by.name)
	}
	s.last, s.failure = by.name, nil
}

func (s *Servers) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil || s.failure.Error() != err.Error() || time.Since(s.loggedAt) > repeat {
		s.logger.Warn("no server answers, Services stay as they are", "err", err)
		s.loggedAt = time.Now()
	}
	s.failure = err
}

// send sends the request to the server. An answer that another server, or the same one later, could give differently is
// an error.
func (s server) send(request *http.Request) (*http.Response, error) {
	sent := request.Clone(request.Context())
	sent.URL.Scheme, sent.URL.Host = s.url.Scheme, s.url.Host
	sent.Host = ""
	response, err := s.transport.RoundTrip(sent)
	if err != nil {
		return nil, err
	}
	switch response.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable:
		// Behind a load balancer the next connection may lead to another process.
		defer utilnet.CloseIdleConnectionsFor(s.transport)
		return nil, refusal(response)
	}
	// 504 is for the reflector: the resource version may never come.
	return response, nil
}

// maxMessage is how much of a refusal is read.
const maxMessage = 4 << 10

// refusal returns an answer as an error, and closes it.
func refusal(response *http.Response) error {
	defer func() { _ = response.Body.Close() }()
	var status metav1.Status
	content, err := io.ReadAll(io.LimitReader(response.Body, maxMessage))
	if err == nil && json.Unmarshal(content, &status) == nil && status.Message != "" {
		return fmt.Errorf("%s: %s", response.Status, status.Message)
	}
	return errors.New(response.Status)
}
