package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/spillway-k8s/spillway/extender/server"
	"github.com/spillway-k8s/spillway/internal/serve"
)

// secured tells whether the scheduler is served over TLS.
func (c *Config) secured() bool { return c.TLSCertFile != "" || c.TLSPrivateKeyFile != "" }

// validateListeners holds that nobody but the scheduler can ask: what other machines can reach asks for a client certificate.
func (c *Config) validateListeners() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen: invalid value %q: must be host:port: %w", c.Listen, err)
	}
	var faults []error
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		faults = c.validateService()
	}
	if c.HealthListen != "" {
		if _, port, err := net.SplitHostPort(c.HealthListen); err != nil || port == "" {
			faults = append(faults, fmt.Errorf("healthListen: invalid value %q: must be host:port, such as :10291", c.HealthListen))
		}
	}
	return errors.Join(append(faults, c.validateTLS()...)...)
}

// validateService checks what is needed beyond loopback.
func (c *Config) validateService() []error {
	var faults []error
	if !c.secured() {
		faults = append(faults, fmt.Errorf("listen: invalid value %q: must be a loopback address such as 127.0.0.1:10290 without tlsCertFile, tlsPrivateKeyFile "+
			"and clientCAFile: whoever can ask can use up slots", c.Listen))
	}
	if c.LeaderElectionNamespace == "" {
		faults = append(faults, errors.New("leaderElectionNamespace: must not be empty beyond loopback: two extenders that answer would give slots twice"))
	}
	return faults
}

// validateTLS holds that TLS is whole: a certificate alone would let everybody in.
func (c *Config) validateTLS() []error {
	if !c.secured() {
		if c.ClientCAFile != "" {
			return []error{fmt.Errorf("clientCAFile: invalid value %q: means nothing without tlsCertFile and tlsPrivateKeyFile", c.ClientCAFile)}
		}
		return nil
	}
	var faults []error
	for _, field := range []struct{ name, value, right string }{
		{"tlsCertFile", c.TLSCertFile, "must name a file, as tlsPrivateKeyFile does"},
		{"tlsPrivateKeyFile", c.TLSPrivateKeyFile, "must name a file, as tlsCertFile does"},
		{"clientCAFile", c.ClientCAFile, "must name a file with TLS: without it everybody could use up slots"},
		{"healthListen", c.HealthListen, "must be host:port with TLS, such as :10291: the kubelet's probes have no client certificate"},
	} {
		if field.value == "" {
			faults = append(faults, fmt.Errorf("%s: must not be empty: %s", field.name, field.right))
		}
	}
	if len(c.ClientNames) == 0 || slices.Contains(c.ClientNames, "") {
		faults = append(faults, fmt.Errorf("clientNames: invalid value %q: must be the names of the clients that may ask, such as system:kube-scheduler", c.ClientNames))
	}
	return faults
}

// listeners are the servers of the extender.
func (c *Config) listeners(handlers server.Handlers) []serve.Server {
	if !c.secured() {
		if c.HealthListen == "" {
			return []serve.Server{{Address: c.Listen, Handler: handlers.Together()}}
		}
		return []serve.Server{{Address: c.Listen, Handler: handlers.Verbs}, {Address: c.HealthListen, Handler: handlers.Health}}
	}
	return []serve.Server{{
		Address: c.Listen, Handler: handlers.Verbs, CertFile: c.TLSCertFile, KeyFile: c.TLSPrivateKeyFile, ClientCAFile: c.ClientCAFile,
		// No HTTP/2: a connection on which an answer does not come is given up and made anew, and leads to where there is one.
		TLS: &tls.Config{NextProtos: []string{"http/1.1"}},
	}, {Address: c.HealthListen, Handler: handlers.Health}}
}

// names are the names that clients must have; none without TLS.
func (c *Config) names() []string {
	if !c.secured() {
		return nil
	}
	return c.ClientNames
}
